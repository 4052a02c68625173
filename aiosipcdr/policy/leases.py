"""Leases of a shared rate: time slots that a server hands to several clients, and the check that a slot is still valid.

Arithmetic only: clock readings are arguments. A slot may be used up to `GRACE` seconds late, so slots are spaced by
`(1 + GRACE) / rate`: in any span of one second the clients together send at most `rate + burst - 1` requests, rounded
up.
"""

from collections.abc import Sequence
from typing import Final

from aiosipcdr.policy.pacing import Pacer, RatePolicy

__all__ = ["GRACE", "LEAD", "SlotClock", "SlotPlanner"]

GRACE: Final = 0.05
"""Seconds that a slot may be used late; an unused slot is then lost, also when its client has died."""

LEAD: Final = 0.05
"""Seconds that a slot is handed out ahead of its time at most; also the length of a lease."""


class SlotPlanner:
    """The server's side: plans the slots of one rate."""

    __slots__ = ("_pacer",)

    def __init__(self, policy: RatePolicy) -> None:
        """Start with a full burst."""
        self._pacer = Pacer(RatePolicy(policy.requests_per_second / (1 + GRACE), policy.burst))

    def decide_wait(self, now: float) -> float:
        """Return the seconds until the next slot may be handed out, 0 if it may be now."""
        return max(0.0, self._pacer.decide_wait(now) - LEAD)

    def lease(self, wanted: int, now: float) -> list[float]:
        """Take at most `wanted` slots, at least one; return the seconds from now to each.

        Only the first may be further ahead than `LEAD`: `decide_wait` says when it is not.
        """
        offsets: list[float] = []
        while not offsets or (len(offsets) < wanted and self._pacer.decide_wait(now) <= LEAD):
            wait = self._pacer.decide_wait(now)
            self._pacer.take(now + wait)
            offsets.append(wait)
        return offsets


class SlotClock:
    """The client's side: places slots on the client's own clock and rejects those that are too late.

    How long a lease was on its way is known only relative to the fastest one so far. What it took longer counts as
    lateness, so that slots are not used after the process was stopped.
    """

    __slots__ = ("_fastest",)

    def __init__(self, round_trip: float) -> None:
        """Begin with the seconds that an exchange with the server has taken."""
        self._fastest = round_trip

    def place(self, offsets: Sequence[float], *, sent: float, received: float, waited: float) -> list[float]:
        """Return the instants of the slots of a lease.

        Args:
            offsets: Seconds from the sending of the lease to each slot.
            sent: When the lease was requested.
            received: When it arrived.
            waited: Seconds that the server has held the request.
        """
        on_its_way = received - sent - waited
        self._fastest = min(self._fastest, on_its_way)
        return [received - (on_its_way - self._fastest) + offset for offset in offsets]

    @staticmethod
    def is_valid(slot: float, now: float) -> bool:
        """Return whether a slot may be used now, its time having come."""
        return now - slot <= GRACE
