"""Policies of the client: retries, pacing, concurrency and clocks.

Sans-IO arithmetic: clock readings and random numbers are arguments.
"""
