"""The message about a window that cannot be proven."""

from datetime import UTC, datetime

import pytest

from aiosipcdr import FetchReport
from aiosipcdr.model.errors import CHANGING, INDISTINGUISHABLE, UNSTEADY, describe_shortfall
from aiosipcdr.model.windows import TimeWindow

WINDOW = TimeWindow(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC))


@pytest.mark.parametrize("why", [CHANGING, UNSTEADY, INDISTINGUISHABLE])
def test_the_message_has_both_counts_the_cause_and_advice(why: str) -> None:
    report = FetchReport(total=1_300)
    error = describe_shortfall(WINDOW, 1_297, 1_300, why, report)
    reported = str(error)
    assert "1,297 distinct calls were read where the vendor counts 1,300" in reported
    assert f"; {why}: try again later, or accept an incomplete result with allow_incomplete=True" in reported
    assert error.window == WINDOW
    assert error.report is report


def test_counts_that_agree_are_not_named_as_the_cause() -> None:
    reported = str(describe_shortfall(WINDOW, 1_300, 1_300, UNSTEADY, FetchReport()))
    assert "1,300 distinct calls were read, and the vendor's responses differ in their counts" in reported
    assert "where the vendor counts" not in reported
