# ruff: noqa: ANN401 - JSON is anything
import json
from datetime import timedelta
from typing import Any

import pytest

from aiosipcdr.sandbox import Sandbox

SECOND = timedelta(seconds=1)


def times_of(sandbox: Sandbox) -> list[str]:
    return [row["submitTime"] for row in sandbox.rows()]


def test_a_response_matches_the_vendor_page(ask: Any) -> None:
    with Sandbox(records=250) as sandbox:
        reply = ask(sandbox, 3)
        assert reply.code == 200
        assert reply.headers["Content-Type"] == "application/json;charset=UTF-8"
        assert list(reply.json) == ["status", "reason", "data"]
        assert (reply.json["status"], reply.json["reason"]) == ("0", "success")
        records = reply.data.pop("records")
        assert len(records) == 50
        assert {name: reply.data[name] for name in reply.data if name != "records"} == {
            "total": 250,
            "size": 100,
            "current": 3,
            "pages": 3,
            "searchCount": True,
        }


@pytest.mark.parametrize("order", ["newest", "oldest", "scattered"])
def test_a_listing_in_a_fixed_order_is_whole(ask_all: Any, order: str) -> None:
    with Sandbox(records=230, order=order) as sandbox:
        truth = sandbox.voice_ids()
        got = ask_all(sandbox, size=50)
        assert sorted(got) == sorted(truth)
        assert got == ask_all(sandbox, size=50)
        assert (got == truth, got == truth[::-1]) == (order == "oldest", order == "newest")


def test_without_an_order_pages_repeat_and_miss_calls(ask: Any, ask_all: Any) -> None:
    with Sandbox(records=230, order="none") as sandbox:
        got = ask_all(sandbox, size=50)
        assert len(got) == 230
        assert len(set(got)) < 230
        assert ask(sandbox, 1).ids != ask(sandbox, 1).ids


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_bounds_are_inclusive_or_not(ask: Any, *, first: bool, last: bool) -> None:
    with Sandbox(records=0, start_inclusive=first, end_inclusive=last) as sandbox:
        left = sandbox.start + timedelta(hours=1)
        right = left + timedelta(hours=1)
        ids = [sandbox.insert(at)[0] for at in (left - SECOND, left, right, right + SECOND)]
        expected = {*ids[1:2]} if first else set()
        expected |= {*ids[2:3]} if last else set()
        assert set(ask(sandbox, start=left, end=right).ids) == expected
        assert set(sandbox.voice_ids(left, right)) == expected


@pytest.mark.parametrize("field", ["callTime", "ringingTime", "answerTime", "hangupTime"])
def test_the_range_may_look_at_another_time(ask: Any, ask_all: Any, field: str) -> None:
    with Sandbox(records=300, time_field=field) as sandbox:
        rows = [row for row in sandbox.rows() if row[field] is not None]
        assert sorted(ask_all(sandbox)) == sorted(row["voiceId"] for row in rows)
        cut = sorted(row[field] for row in rows)[len(rows) // 2]
        late = [row["voiceId"] for row in rows if row[field] >= cut]
        assert ask(sandbox, start=cut).data["total"] == len(late)


@pytest.mark.parametrize("field", ["submitTime", "hangupTime"])
def test_calls_arrive_while_one_pages(ask: Any, field: str) -> None:
    with Sandbox(records=100, insert_every=2, time_field=field) as sandbox:
        totals = [ask(sandbox, size=10).data["total"] for _ in range(6)]
        assert totals == [100, 101, 101, 102, 102, 103]
        sandbox.change(drift_requests=0)
        newest = ask(sandbox, size=1).ids
        assert ask(sandbox, size=1).data["total"] == 103
        assert newest == sandbox.voice_ids()[-1:]


def test_calls_arrive_late_in_the_middle_and_pass_the_filter(ask: Any) -> None:
    with Sandbox(records=100, insert_late_every=1, drift_requests=3) as sandbox:
        before = set(sandbox.voice_ids())
        totals = [ask(sandbox, sipGroupName="new", phoneName="n").data["total"] for _ in range(5)]
        assert totals == [1, 2, 3, 3, 3]
        added = [row for row in sandbox.rows() if row["voiceId"] not in before]
        assert {row["sipGroupName"] for row in added} == {"new"}
        middle = sandbox.start + (sandbox.end - sandbox.start) / 2
        assert all(row["submitTime"] == middle.isoformat() for row in added)


def test_calls_disappear(ask: Any) -> None:
    with Sandbox(records=10, delete_every=1) as sandbox:
        assert [ask(sandbox).data["total"] for _ in range(11)] == [*range(9, -1, -1), 0]


def test_count_and_select_are_two_statements(ask: Any) -> None:
    with Sandbox(records=10, insert_every=1, drift_between=True) as sandbox:
        reply = ask(sandbox)
        assert (reply.data["total"], len(reply.ids)) == (10, 11)
        sandbox.change(insert_every=None, delete_every=1)
        reply = ask(sandbox)
        assert (reply.data["total"], len(reply.ids)) == (11, 10)


def test_beyond_the_last_page_there_is_nothing_or_page_1(ask: Any) -> None:
    with Sandbox(records=150) as sandbox:
        beyond = ask(sandbox, 3)
        assert (beyond.data["current"], beyond.ids, beyond.data["total"]) == (3, [], 150)
        sandbox.change(overflow="first")
        first = ask(sandbox, 3)
        assert (first.data["current"], first.ids) == (1, ask(sandbox, 1).ids)


def test_a_size_may_be_cut_down(ask: Any) -> None:
    with Sandbox(records=150, max_size=20) as sandbox:
        reply = ask(sandbox, 2)
        assert (reply.data["size"], len(reply.ids), reply.data["pages"]) == (20, 20, 8)
        assert reply.ids == sandbox.voice_ids()[-40:-20][::-1]
        sandbox.change(pages_from_requested_size=True)
        assert ask(sandbox).data["pages"] == 2
        assert ask(sandbox, size=10).data["size"] == 10


def test_other_habits_of_the_envelope(ask: Any) -> None:
    with Sandbox(records=0, empty_records="null", extra_keys=True, status_as="int") as sandbox:
        reply = ask(sandbox)
        assert reply.status == 0
        assert reply.data["records"] is None
        assert {"orders", "optimizeCountSql", "hitCount", "countId", "maxLimit"} < set(reply.data)
        sandbox.change(pretty=True)
        assert b"\n" in ask(sandbox).body
        sandbox.insert()
        assert len(ask(sandbox).ids) == 1
        assert ask(sandbox, size=0).status == -22


def test_null_means_no_calls_at_all_only(ask: Any) -> None:
    with Sandbox(records=5, empty_records="null") as sandbox:
        assert ask(sandbox, 2).data["records"] == []


def test_a_total_may_be_wrong_or_missing(ask: Any) -> None:
    with Sandbox(records=150, wrong_total=51) as sandbox:
        assert (ask(sandbox).data["total"], ask(sandbox).data["pages"]) == (201, 3)
        sandbox.change(wrong_total=-500)
        assert ask(sandbox).data["total"] == 0
        sandbox.change(wrong_total=0, search_count=False)
        reply = ask(sandbox, 2)
        assert (reply.data["total"], reply.data["pages"], len(reply.ids)) == (0, 0, 50)
        assert reply.data["searchCount"] is False


@pytest.mark.parametrize(("absent", "value"), [("null", None), ("empty", "")])
def test_absent_values_are_null_or_empty(ask: Any, absent: str, value: object) -> None:
    with Sandbox(records=50, absent=absent) as sandbox:
        records = ask(sandbox).data["records"]
        assert {r["answerTime"] for r in records} > {value}
        assert ask(sandbox, size=0).json["data"] is None


def test_absent_values_are_missing(ask: Any) -> None:
    with Sandbox(records=50, absent="missing", cost_field="costEur") as sandbox:
        records = ask(sandbox).data["records"]
        assert 0 < sum("answerTime" in record for record in records) < 50
        assert all("costEur" in record and "cost" not in record for record in records)
        assert "data" not in ask(sandbox, size=0).json


def test_an_id_may_repeat(ask_all: Any) -> None:
    with Sandbox(records=100, repeat_every=4) as sandbox:
        got = ask_all(sandbox)
        assert (len(got), len(set(got))) == (125, 100)


def test_too_many_requests_a_second_are_refused(ask: Any) -> None:
    with Sandbox(records=1, rate_limit=0.001) as sandbox:
        assert [ask(sandbox).status for _ in range(3)] == ["0", "-15", "-15"]
        sandbox.change(rate_limit=None)
        assert ask(sandbox).status == "0"


def test_the_next_responses_can_be_scripted(ask: Any) -> None:
    with Sandbox(records=1) as sandbox:
        sandbox.answer_next(-18, 0, -2, -99)
        assert [ask(sandbox).status for _ in range(5)] == ["-18", "0", "-2", "-99", "0"]
        assert sandbox.stats.answers == {-18: 1, -2: 1, -99: 1, 0: 2}


def test_rows_that_offset_would_have_read_are_counted(ask: Any) -> None:
    with Sandbox(records=250) as sandbox:
        for page in (1, 2, 3, 4):
            ask(sandbox, page)
        ask(sandbox, 1, size=1)
        stats = sandbox.stats
        assert (stats.requests, stats.deepest_page) == (5, 4)
        assert stats.rows_read == 100 + 200 + 250 + 250 + 1
        sandbox.reset_stats()
        assert sandbox.stats.rows_read == 0


def test_rows_of_ones_own_go_over_the_wire_as_they_are(ask: Any, send: Any) -> None:
    odd = [{"voiceId": "1", "cost": None, "new": {"a": [1]}}, {"voiceId": 5}, None, "x", 7]
    with Sandbox(calls=odd) as sandbox:
        assert ask(sandbox).data["records"][::-1] == odd
        assert sandbox.voice_ids() == ["1"]
        assert sandbox.rows() == odd
        sandbox.add_rows([b'{"voiceId":"2","cost":NaN}'], at=sandbox.end)
        assert b'"cost":NaN}' in send(sandbox).body
        assert sandbox.rows()[-1] == b'{"voiceId":"2","cost":NaN}'
        # An id that cannot be read is none.
        assert sandbox.delete("1", "2", "3") == 1
        assert b'"total":5,' in send(sandbox).body


def test_the_default_range_holds_the_calls_that_are_given(ask: Any) -> None:
    with Sandbox(records=3, days=5) as donor:
        start = donor.start - timedelta(days=1)
        row = json.loads(json.dumps(donor.rows()[0])) | {"submitTime": start.isoformat()}
    with Sandbox(calls=[row], days=5) as sandbox:
        assert sandbox.start == start - SECOND
        assert ask(sandbox).ids == [row["voiceId"]]


@pytest.mark.parametrize("overflow", ["first", "last", "null-records", "null-data"])
def test_a_page_past_the_end_may_be_another_page_or_null(ask: Any, overflow: str) -> None:
    with Sandbox(records=150, order="oldest", overflow=overflow) as sandbox:
        before = ask(sandbox, 2)
        reply = ask(sandbox, 3)
        assert reply.code == 200
        assert reply.status == "0"
        if overflow == "null-data":
            assert reply.json["data"] is None
        elif overflow == "null-records":
            assert (reply.data["records"], reply.data["total"], reply.data["current"]) == (None, 150, 3)
        else:
            page = ask(sandbox, 1) if overflow == "first" else before
            assert reply.json == page.json
        assert ask(sandbox, 2).json == before.json


@pytest.mark.parametrize(
    ("overflow", "code", "status"),
    [("no-content", 204, None), ("http-500", 500, None), ("code-18", 200, "-18"), ("code-22", 200, "-22")],
)
def test_a_page_past_the_end_may_be_an_error(ask: Any, overflow: str, code: int, status: str | None) -> None:
    with Sandbox(records=150, overflow=overflow, gzip=True) as sandbox:
        assert len(ask(sandbox, 2).ids) == 50
        reply = ask(sandbox, 3, headers={"Accept-Encoding": "gzip"})
        assert reply.code == code
        if status is None:
            assert reply.body == b""
        else:
            assert reply.status == status
        assert sandbox.stats.answers == {0: 1, code if status is None else int(status): 1}


def test_a_count_may_be_cut_off_while_pages_go_on(ask: Any) -> None:
    with Sandbox(records=250, order="oldest", count_cap=200) as sandbox:
        reply = ask(sandbox, 3)
        assert (reply.data["total"], reply.data["pages"], reply.ids) == (200, 2, sandbox.voice_ids()[200:])
        sandbox.change(overflow="first")
        reply = ask(sandbox, 3)
        assert (reply.data["total"], reply.data["current"], reply.ids) == (200, 1, sandbox.voice_ids()[:100])
        # The page that straddles the cap still holds what lies behind it.
        assert len(ask(sandbox, 3, size=99).ids) == 52
        sandbox.change(count_cap=0)
        assert ask(sandbox).data["total"] == 0


def test_sizes_may_be_forced_raised_or_refused(ask: Any) -> None:
    with Sandbox(records=150, order="oldest", forced_size=20) as sandbox:
        for size in (1, 20, 100):
            reply = ask(sandbox, 2, size=size)
            assert (reply.data["size"], reply.data["pages"]) == (20, 8)
            assert reply.ids == sandbox.voice_ids()[20:40]
        sandbox.change(echo_size="requested", pages_from_requested_size=True)
        reply = ask(sandbox, 2)
        assert (reply.data["size"], reply.data["pages"], len(reply.ids)) == (100, 2, 20)
        sandbox.change(forced_size=None, min_size=10, echo_size="used")
        assert [ask(sandbox, size=size).data["size"] for size in (1, 9, 10, 11, 100)] == [10, 10, 10, 11, 100]
        sandbox.change(min_size=None, refuse_below=2)
        assert [ask(sandbox, size=size).status for size in (1, 2)] == ["-22", "0"]


def test_a_count_may_be_behind_the_rows(ask: Any) -> None:
    with Sandbox(records=50, count_lag=3_600) as sandbox:
        sandbox.insert(count=2)
        reply = ask(sandbox)
        assert (reply.data["total"], len(reply.ids)) == (50, 52)
        sandbox.change(count_lag=0)
        assert ask(sandbox).data["total"] == 52


def test_a_count_may_be_used_again(ask: Any) -> None:
    with Sandbox(records=50, count_cache=3_600) as sandbox:
        assert ask(sandbox).data["total"] == 50
        sandbox.insert()
        reply = ask(sandbox, size=99)  # other pages of the same range
        assert (reply.data["total"], len(reply.ids)) == (50, 51)
        assert ask(sandbox, start=sandbox.start + SECOND).data["total"] == 51
        sandbox.change(count_cache=0)
        assert ask(sandbox).data["total"] == 51


def test_another_replica_answers_now_and_then(ask: Any) -> None:
    with Sandbox(records=80, replica_every=3, empty_records="null") as sandbox:
        sandbox.insert()
        assert [ask(sandbox).data["total"] for _ in range(6)] == [81, 81, 0, 81, 81, 0]
        sandbox.change(replica="lagging", replica_lag=3_600)
        totals = [(reply.data["total"], len(reply.ids)) for reply in (ask(sandbox) for _ in range(3))]
        assert totals == [(81, 81), (81, 81), (80, 80)]
        sandbox.change(replica="shard")
        replies = [ask(sandbox, size=50) for _ in range(6)]
        assert [reply.data["total"] for reply in replies] == [81, 81, 61, 81, 81, 61]
        assert replies[2].ids == replies[5].ids
        assert set(replies[2].ids) < set(sandbox.voice_ids())


def test_a_field_is_filled_in_while_one_pages(ask: Any) -> None:
    with Sandbox(records=10, change_every=2, leg_every=1) as sandbox:
        before = sandbox.rows()
        ask(sandbox)
        assert sandbox.rows() == before
        ask(sandbox)
        ((old, new),) = [pair for pair in zip(before, sandbox.rows(), strict=True) if pair[0] != pair[1]]
        assert {name for name in new if new[name] != old[name]} == {"recordingFileId"}
    with Sandbox(calls=[b"{", [1], None], change_every=1) as sandbox:
        before = sandbox.rows()
        for _ in range(5):
            ask(sandbox, size=1)
        assert sandbox.rows() == before
