"""Completeness of rows that an engine takes: it has no place for a report, so what is missing is an error."""

from aiosipcdr.model.errors import IncompleteRangeError
from aiosipcdr.model.report import FetchReport, counted

__all__ = ["check_all_delivered"]


def check_all_delivered(report: FetchReport) -> None:
    """Check that no record of a finished stream was left out.

        check_all_delivered(stream.report)

    Raises:
        IncompleteRangeError: Records without a readable id were left out; the message names their windows.
    """
    if report.quarantined:
        windows = ", ".join(str(one.window) for one in report.window_reports if one.quarantined)
        records = counted(report.quarantined, "record", "records")
        raise IncompleteRangeError(f"{records} without a readable id in {windows}; an export keeps their bytes")
