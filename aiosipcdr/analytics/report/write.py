"""The HTML report as a file, which appears complete or not at all and replaces only an earlier report."""

from contextlib import suppress
from datetime import datetime
from os import PathLike
from pathlib import Path

from aiosipcdr.analytics.report.certificate import Certificate
from aiosipcdr.analytics.report.drawing import check_drawing
from aiosipcdr.analytics.report.page import HEAD, render_report
from aiosipcdr.analytics.summary import TrafficSummary
from aiosipcdr.export.atomic import AtomicFile, check_target
from aiosipcdr.export.filesystem import storage_errors
from aiosipcdr.export.paths import temporary_path
from aiosipcdr.export.spec import check_file_mode
from aiosipcdr.model.report import FetchReport

__all__ = ["check_report", "write_report"]


def write_report(
    summary: TrafficSummary,
    path: str | PathLike[str],
    *,
    certificate: Certificate | FetchReport | None = None,
    before: TrafficSummary | None = None,
    certificate_before: Certificate | FetchReport | None = None,
    title: str = "Calls and costs",
    show_numbers: bool = False,
    created: datetime | None = None,
    overwrite: bool = False,
    mode: int | None = None,
) -> None:
    """Write a summary as one HTML page, which needs no network, no script and no other file.

        summary = summarize("october.parquet", by=REPORT_GROUPINGS, tz=ZoneInfo("Asia/Shanghai"))
        write_report(summary, "october.html", certificate=Certificate.of_files("october.parquet"))

    The page has the certificate and what it means, sums of money, metrics, charts with their tables, the billing audit
    and hints of fraud. It holds no id of a call. The same arguments give the same bytes. Computes and draws for about
    two seconds: call it with `asyncio.to_thread` where an event loop runs.

    Args:
        summary: The calls. The page shows the tables of `REPORT_GROUPINGS`, and `phone_name`, and says which are
            missing.
        path: The file. An earlier report there is replaced.
        certificate: The proof of the calls: a `FetchReport`, or `Certificate.of_files`. Without one, the page says
            that it is unknown.
        before: The period before, to compare with; made with any groupings.
        certificate_before: The proof of its calls.
        title: The heading.
        show_numbers: Show phone numbers, which are masked otherwise, and names of phones, which are hidden otherwise.
        created: When the page is written, as it says; aware, by default now.
        overwrite: Also replace a file that is no report.
        mode: Permissions of the file, such as 0o640 for a shared folder; by default only its owner can read it.

    Raises:
        MissingExtraError: The extra `report` is not installed.
        ExportConflictError: A file exists that is no report.
        StorageError: The file cannot be written.
        ValueError: `mode` is none of the permitted ones, or `created` has no time zone.
    """
    check_report(path, overwrite=overwrite, mode=mode)
    page = render_report(
        summary,
        certificate=certificate,
        before=before,
        certificate_before=certificate_before,
        title=title,
        show_numbers=show_numbers,
        created=created,
    )
    target = Path(path)
    is_replaced = overwrite or _is_report(target)
    with storage_errors(target):
        file = AtomicFile(target, mode=mode)
        if _is_report(temporary_path(target)):
            file.discard_leftover()
        try:
            file.create()
            file.write(page.encode())
            file.finish()
            file.publish(overwrite=is_replaced)
        finally:
            file.discard()


def check_report(path: str | PathLike[str], *, overwrite: bool = False, mode: int | None = None) -> None:
    """Refuse a report that cannot be written, before anything is fetched for it.

    Raises:
        MissingExtraError: The extra `report` is not installed.
        ExportConflictError: A file exists that is no report.
        StorageError: The folder is missing or not writable.
        ValueError: `mode` is none of the permitted ones.
    """
    check_drawing()
    if mode is not None:
        check_file_mode(mode)
    check_target(path, overwrite or _is_report(Path(path)))


def _is_report(path: Path) -> bool:
    """Return whether a plain file begins as a report does; one that was cut short counts, unless it is empty."""
    if path.is_symlink() or not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        head = file.read(len(HEAD))
        return bool(head) and HEAD.encode().startswith(head)
    return False
