"""What runs may hold and spend: room for windows, and requests for reading again.

Counts only; decides nothing about any window.
"""

__all__ = ["Budget", "WindowPlaces"]


class Budget:
    """What a run may spend: on reading again, and in all.

    Reading again may cost 1.7 × the planned pages and 200.  A healthy range
    costs 1.25 × its pages, control counts included, and what finding its busy
    seconds takes.  A run that asks for more than all of this deals with totals
    that cannot be meant.
    """

    __slots__ = ("_cuts", "_issued", "_planned", "_repaired")

    def __init__(self) -> None:
        """Begin with the fixed part alone."""
        self._planned = 0
        self._repaired = 0
        self._issued = 0
        self._cuts = 0

    @property
    def left(self) -> int:
        """How many requests may still be spent on reading again."""
        return 200 + self._planned * 17 // 10 - self._repaired

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be asked for at all."""
        return self._issued >= 220 + 3 * self._planned + self._cuts

    def plan(self, pages: int) -> None:
        """Note that the range holds so many pages more."""
        self._planned += pages

    def plan_smaller(self, before: int, size: int) -> None:
        """Note that a page holds `size` records where it should have held `before`."""
        self._planned = -(-self._planned * before // size)

    def plan_parts(self, parts: int) -> None:
        """Note that a window is rightly cut into `parts`, each of which is asked for its total."""
        self._cuts += parts

    def issue(self) -> None:
        """Note one request, whatever it is for."""
        self._issued += 1

    def take(self, requests: int) -> bool:
        """Reserve `requests` for reading again; refuse when they are not left."""
        if requests > self.left:
            return False
        self._repaired += requests
        return True


class WindowPlaces:
    """How many windows all runs of a client may hold between them, each at least one.

    Records in memory are bounded by it: a window is about 2,000 calls,
    or what one burst of two seconds holds.
    """

    def __init__(self, total: int) -> None:
        """Make room for `total` windows."""
        self.runs = 0
        self._total = total
        self._held = 0

    def has_room(self, own: int) -> bool:
        """Tell whether a run that holds `own` windows may hold one more."""
        fair_share = max(1, self._total // max(1, self.runs))
        return not own or (own < fair_share and self._held < self._total)

    def take(self) -> None:
        """Fill one place."""
        self._held += 1

    def free(self, places: int) -> None:
        """Clear so many."""
        self._held -= places
