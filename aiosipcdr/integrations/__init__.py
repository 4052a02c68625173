"""Doors to other worlds: web frameworks that pass on what the client fetches.

Each door is a module of its own and is imported by its name; this one must
never import any of them, nor what they need.
"""
