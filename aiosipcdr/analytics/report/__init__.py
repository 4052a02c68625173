"""The HTML report of a summary: its page, its certificate and its charts."""

from aiosipcdr.analytics.report.certificate import Certificate, CertifiedFile, Verdict
from aiosipcdr.analytics.report.page import REPORT_GROUPINGS, render_report
from aiosipcdr.analytics.report.write import check_report, write_report

__all__ = [
    "REPORT_GROUPINGS",
    "Certificate",
    "CertifiedFile",
    "Verdict",
    "check_report",
    "render_report",
    "write_report",
]
