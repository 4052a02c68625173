"""Client and server on different cores, where the system allows it."""

import os

SERVER = 0
CLIENT = 1


def pin(role: int) -> None:
    """Keep this process to the core of `role`; with one core, or on a system without affinity, do nothing."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[role]})
