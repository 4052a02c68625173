"""Doors to other worlds: web frameworks and telemetry.

Each door is a module of its own and is imported by its name; this one must
never import any of them, nor what they need.
"""
