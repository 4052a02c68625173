"""Proof of completeness as synchronous state machines.

Sans-IO: no await, socket, clock, environment or randomness; what is needed is passed in.
"""
