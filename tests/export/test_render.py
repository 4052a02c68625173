"""A window is made ready: its rows in the cheapest form that holds them, and its sums."""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from aiosipcdr.export.journal_records import Effort
from aiosipcdr.export.masking import mask_number
from aiosipcdr.export.render import are_lists, decode_rows, encode_lists, encode_rows, render_window
from aiosipcdr.export.rows_file import Mark
from tests.made_up_exports import plain, window

CALLS = 5_000


@pytest.mark.parametrize("as_lists", [False, True])
async def test_rows_and_sums_are_those_of_all_records(as_lists: bool) -> None:  # noqa: FBT001 - a parameter
    reported = plain(window(1, CALLS))
    prepared = await render_window(reported, None, as_lists=as_lists)
    assert prepared.rows == (encode_lists if as_lists else encode_rows)(reported.records)
    assert prepared.repeated == encode_rows(reported.repeated)
    total = sum((record.cost or Decimal() for record in reported.records), Decimal())
    assert prepared.money == [("cost", "EUR", total)]


async def test_one_text_that_is_escaped_makes_objects_of_the_whole_window() -> None:
    reported = plain(window(1, CALLS))
    last = msgspec.structs.replace(reported.records[-1], phone_name='the "desk"')
    reported = msgspec.structs.replace(reported, records=[*reported.records[:-1], last])
    prepared = await render_window(reported, None, as_lists=True)
    assert prepared.rows == encode_rows(reported.records)
    assert not are_lists(prepared.rows)


async def test_lists_are_masked_too() -> None:
    prepared = await render_window(window(1), mask_number, as_lists=True)
    assert are_lists(prepared.rows)
    assert {record.callee for record in decode_rows(prepared.rows)} == {
        mask_number(record.callee) for record in window(1).records if record.callee is not None
    }


async def test_nothing_beside_the_rows_shows_a_number_that_is_masked() -> None:
    reported = window(2, bad=1)
    assert reported.quarantined[0].raw
    prepared = await render_window(reported, mask_number)
    assert prepared.repeated == encode_rows(reported.repeated, mask=mask_number) != encode_rows(reported.repeated)
    assert [one.raw for one in prepared.quarantined] == [b""]
    assert [one.voice_id for one in prepared.quarantined] == [one.voice_id for one in reported.quarantined]
    assert (await render_window(reported, None)).quarantined == reported.quarantined


async def test_the_journal_record_of_a_window_suffices_to_resume() -> None:
    reported = window(2, calls=2, bad=1)
    prepared = await render_window(reported, None)
    mark, effort = Mark(len(prepared.rows), "ab" * 32), Effort(requests=3, retries=1, elapsed=0.5)
    entry = prepared.as_entry(mark, effort)
    assert (entry.delivered.reported, entry.delivered.share) == (reported.report, reported.share)
    assert (entry.rows, entry.size, entry.mark) == (len(reported.records), len(prepared.rows), mark)
    assert (entry.quarantined, entry.unread_ids) == (reported.quarantined, reported.unread_ids)
    assert entry.quarantined
    assert entry.unread_ids
    assert (entry.money, entry.effort) == (prepared.money, effort)


async def test_a_window_of_nothing_has_no_rows() -> None:
    prepared = await render_window(window(1, calls=0), None, as_lists=True)
    assert (prepared.rows, prepared.money) == (b"", [])


@pytest.mark.parametrize("mask", [None, mask_number])
async def test_amounts_that_parquet_cannot_hold_are_kept_in_extra_and_counted_for_the_file(
    mask: Callable[[str], str] | None,
) -> None:
    reported = plain(window(1))
    amount = Decimal("0.30000000000000004")
    records = [msgspec.structs.replace(record, cost=amount, rate=Decimal(2)) for record in reported.records]
    reported = msgspec.structs.replace(reported, records=records)
    prepared = await render_window(reported, mask, as_lists=True)
    assert prepared.unfit == {"cost": 3}
    assert prepared.as_entry(Mark(0, ""), Effort()).unfit == {"cost": 3}
    assert [(row.cost, row.rate, dict(row.extra)) for row in decode_rows(prepared.rows)] == [
        (None, Decimal(2), {"cost": '"0.30000000000000004"'})
    ] * 3
    assert prepared.money == []
    text = await render_window(reported, mask)
    assert ([row.cost for row in decode_rows(text.rows)], text.unfit) == ([amount] * 3, {})
