"""The arithmetic of patience: when to try again and how fast to go.

Pure: the clock's reading and the random number are arguments, never imported.
Errors carry the facts, this room decides what they are worth.
"""
