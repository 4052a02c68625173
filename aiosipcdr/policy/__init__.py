"""When to send again and how fast to go; sans-IO.

Clock readings and random numbers are arguments. Errors carry facts, the policy decides.
"""
