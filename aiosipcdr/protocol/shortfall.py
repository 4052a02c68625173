"""What is told of a window that cannot be proven complete: what was read, what the vendor counts, and why.

Pure.  Tells counts alone, and must never name a record.
"""

from typing import Final

from aiosipcdr.errors import IncompleteRangeError, InvalidQueryError, StatusCode
from aiosipcdr.protocol.paging import LARGEST_SIZE
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import FetchReport

__all__ = [
    "CHANGING",
    "END_UNSEEN",
    "IDENTICAL",
    "UNSTEADY",
    "UNTOLD_APART",
    "describe_refused_page",
    "describe_refused_single_page",
    "describe_shortfall",
]

CHANGING: Final = "rows are changing"
UNSTEADY: Final = "rows are changing or the vendor's total is wrong"
END_UNSEEN: Final = "the vendor gives no page size with which to check that it counts all of them"
IDENTICAL: Final = "the vendor lists {:,} identical rows, which cannot be told from rows that it sent twice"
UNTOLD_APART: Final = "some records have no readable voiceId and cannot be told apart"


def describe_refused_page(window: TimeWindow, page: int, *, size: int) -> InvalidQueryError:
    """Return the error that ends a run because the vendor refuses a page that its own total promises.

    Args:
        window: the narrowest window in which that happens.
        page: its number.
        size: the records of a page.
    """
    advice = "ask for larger pages (page_size), or " if size < LARGEST_SIZE else ""
    return _refused_page(
        window,
        page,
        ", and the window is too narrow to be cut: the vendor reads no page so deep;"
        f" {advice}take what there is with allow_incomplete=True",
    )


def describe_refused_single_page(window: TimeWindow, page: int) -> InvalidQueryError:
    """Return the error for a page above the first that was asked for alone and refused.

    Args:
        window: what was asked for.
        page: its number.
    """
    return _refused_page(
        window,
        page,
        ": the vendor reads no page so deep, or none behind the last; ask for a shorter range, or use fetch_all",
    )


def _refused_page(window: TimeWindow, page: int, why: str) -> InvalidQueryError:
    status = StatusCode.PARAMETER
    return InvalidQueryError(f"page {page} was refused (status {status}){why}", status=status, window=window, page=page)


def describe_shortfall(
    window: TimeWindow, unique: int, total: int, why: str, report: FetchReport
) -> IncompleteRangeError:
    """Return the error that ends a run whose `window` could not be proven.

    Args:
        window: where the counts and the calls do not agree.
        unique: the distinct calls that were read in it.
        total: how many the vendor counts.
        why: what may be the cause, as said above.
        report: of the run.
    """
    what = f"{unique:,} distinct calls were read where the vendor counts {total:,}"
    if unique == total:
        what = f"{unique:,} distinct calls were read, and the vendor's answers differ on how many there are"
    return IncompleteRangeError(
        f"not provable as complete: {what}; {why}: try again later, or take it as it is with allow_incomplete=True",
        window=window,
        report=report,
    )
