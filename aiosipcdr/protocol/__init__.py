"""The endpoint's protocol as pure functions and synchronous state machines.

Nothing in this room awaits, opens a socket, reads a clock, the environment or
a source of randomness: what it needs is passed in.  So all of it is tested
without a network, and every decision can be replayed.
"""
