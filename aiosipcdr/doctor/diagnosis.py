"""Findings from the facts of a probe, one per topic, and the resulting settings.

Pure functions. What the facts do not show is reported as unknown, with the reason; no finding quotes a call, a phone
number or a filter's value.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from aiosipcdr.doctor.probe import LARGER, LARGEST, ODD, Answered, ProbeFacts, ProbeOutcome
from aiosipcdr.model.records import (
    TIME_FIELDS,
    WIRE_NAMES,
    CallDetailRecord,
    list_faulty_fields,
    list_unknown_fields,
)
from aiosipcdr.model.report import counted
from aiosipcdr.wire.lenient import clean_names, count_names

__all__ = ["Finding", "judge_probe", "plan_settings"]

_ENOUGH = 5
_LOCAL_TIME = re.compile(r'"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}[0-9:.]*"').fullmatch
_HOUR = timedelta(hours=1)
_NO_CALLS = "no calls were found in the last 30 days; try again when there are some"
_NO_IDS = "none of the records has a readable id"


class Finding(msgspec.Struct, frozen=True):
    """The finding about one topic; `value` is `None` if it is unknown."""

    topic: str
    value: str | None
    text: str


def judge_probe(facts: ProbeFacts) -> list[Finding]:
    """Return one finding per topic, always in the same order."""
    judges: dict[str, Callable[[ProbeFacts], tuple[str | None, str]]] = {
        "total": _judge_total,
        "order": _judge_order,
        "time_field": _judge_field,
        "start": lambda facts: _judge_bound(facts, "start"),
        "end": lambda facts: _judge_bound(facts, "end"),
        "page_size": _judge_size,
        "larger_pages": _judge_larger,
        "beyond_last_page": _judge_beyond,
        "repeated_ids": _judge_repeats,
        "filter_case": lambda facts: _judge_filter(facts, facts.other_case, "in the other case"),
        "filter_blanks": lambda facts: _judge_filter(facts, facts.outer_blanks, "with blanks around it"),
        "longest_call": _judge_longest,
        "fields": _judge_fields,
    }
    found: list[Finding] = []
    has_records, has_calls = any(answer.rows for answer in facts.answers), bool(facts.calls())
    for topic, judge in judges.items():
        is_known = has_calls or (has_records and topic == "fields")
        found.append(Finding(topic, *(judge(facts) if is_known else (None, _NO_IDS if has_records else _NO_CALLS))))
    return [*found, Finding("date", *_judge_date(facts)), Finding("rate", *_judge_rate(facts))]


def plan_settings(facts: ProbeFacts, *, lateness: timedelta) -> dict[str, object]:
    """Return the arguments of the library that follow from the facts, if they differ from its defaults.

    Args:
        facts: The facts of the probe.
        lateness: The default lateness.
    """
    found: dict[str, object] = {}
    if (size := _page_size_for(facts)) is not None and size < LARGEST:
        found["page_size"] = size
    if len(fields := _fields(facts)) == 1:
        found["time_field"] = fields[0]
    if (longest := _longest(facts.calls())) is not None and longest + _HOUR > lateness:
        found["lateness"] = (longest // _HOUR + 2) * _HOUR
    if facts.throttled and facts.rate is not None:
        found["rate"] = facts.rate / 2
    return found


def _judge_total(facts: ProbeFacts) -> tuple[str | None, str]:
    whole = [answer for answer in facts.answers if answer.rows < min(answer.page.size, answer.size)]
    if all(answer.page.total == 0 for answer in facts.answers):
        return "not counted", "calls are returned, but the reported total is 0; completeness cannot be verified"
    wrong = sum(answer.page.total != answer.rows for answer in whole)
    if wrong:
        return "wrong", f"{wrong} of {len(whole)} small windows reported another number of calls than they returned"
    if not any(answer.rows for answer in whole):
        return None, "no window was small enough to count its calls"
    return "right", f"the reported total is the number of returned calls, in {len(whole)} small windows"


def _judge_order(facts: ProbeFacts) -> tuple[str | None, str]:
    answers = [answer.page.records for answer in (facts.first, facts.again) if isinstance(answer, Answered)]
    if not isinstance(facts.again, Answered) or not facts.again.page.records:
        return None, "the same page could not be requested twice"
    orders = [_orders(records) for records in answers]
    if min(len({call.submit_time for call in records}) for records in answers) < _ENOUGH:
        return None, f"fewer than {_ENOUGH} calls with different times were found"
    for field, direction in orders[0]:
        if (field, direction) in orders[1]:
            return direction, f"{direction} first, by {field}"
    first, again = (list(dict.fromkeys(call.voice_id for call in records)) for records in answers)
    shared = set(first) & set(again)
    kept = [[voice_id for voice_id in ids if voice_id in shared] for ids in (first, again)]
    if kept[0] != kept[1] or len(shared) * 2 < min(len(first), len(again)):
        return "changes", "a different order for every request: pages overlap and miss calls, so windows are read again"
    return "not by time", "an order that is not by any time, but the same for every request"


def _orders(calls: Sequence[CallDetailRecord]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for field in TIME_FIELDS:
        times: list[datetime] = [time for call in calls if (time := getattr(call, field)) is not None]
        if len(set(times)) < _ENOUGH:
            continue
        if all(before >= after for before, after in pairwise(times)):
            found.append((field, "newest"))
        if all(before <= after for before, after in pairwise(times)):
            found.append((field, "oldest"))
    return found


def _fields(facts: ProbeFacts) -> list[str]:
    return sorted({hypothesis.field for hypothesis in facts.hypotheses or ()}, key=TIME_FIELDS.index)


def _judge_field(facts: ProbeFacts) -> tuple[str | None, str]:
    fields = _fields(facts)
    if len(fields) == 1:
        windows = "window" if len(facts.narrow) == 1 else "windows"
        return fields[0], f"a range is compared with {fields[0]}: no other field explains {len(facts.narrow)} {windows}"
    if not fields:
        if any(name in TIME_FIELDS for call in facts.calls() for name in list_faulty_fields(call)):
            return None, "none of the readable times explains the returned calls"
        return (
            None,
            "none of the five times explains the returned calls; the vendor may compare a time that it does not send",
        )
    why = "calls disappeared during the probe" if facts.vanished else "the calls found do not distinguish them"
    return None, f"it may be {' or '.join(fields)}: {why}"


def _judge_bound(facts: ProbeFacts, bound: str) -> tuple[str | None, str]:
    reported = {getattr(hypothesis, f"{bound}_inclusive") for hypothesis in facts.hypotheses or ()}
    if reported == {True}:
        return "inclusive", f"a call exactly at the {bound} is in the range"
    if reported == {False}:
        return "exclusive", f"a call exactly at the {bound} is not in the range"
    if not reported:
        return None, "the field that the range is compared with is unknown"
    return None, f"no call found shows whether one exactly at the {bound} is in the range"


def _page_size_for(facts: ProbeFacts) -> int | None:
    # The reported size, unless fewer calls were returned than there are.
    if (first := facts.first) is None or not 1 <= first.page.size <= LARGEST:
        return None
    return first.rows if first.page.total > first.rows and first.rows < first.page.size else first.page.size


def _judge_size(facts: ProbeFacts) -> tuple[str | None, str]:
    size = _page_size_for(facts)
    if size is None:
        return None, f"a page size of {LARGEST} was requested, and the response has an invalid size"
    again = facts.again.page.size if isinstance(facts.again, Answered) else ODD
    bent = "" if again in {ODD, min(ODD, size)} else f"; {ODD} becomes {again}, so use one of the sizes above"
    if size < LARGEST:
        return str(size), f"pages are silently reduced to {size} calls{bent}"
    return str(size), f"pages of {LARGEST} calls are accepted{bent}"


def _judge_larger(facts: ProbeFacts) -> tuple[str | None, str]:
    if not isinstance(facts.larger, Answered):
        return (
            ("refused", f"a page of {LARGER} is refused{_status(facts.larger)}")
            if facts.larger
            else (None, "not tested")
        )
    size = facts.larger.page.size
    if size >= LARGER and facts.larger.rows > LARGEST:
        return "given", f"pages of {LARGER} are accepted, too; the client requests at most {LARGEST}, as documented"
    if size >= LARGER:
        return None, f"a page size of {LARGER} is reported, but there were too few calls to verify it"
    return "cut", f"a page of {LARGER} is silently reduced to {size}"


def _status(outcome: ProbeOutcome | None) -> str:
    status = None if outcome is None or isinstance(outcome, Answered) else outcome.status
    return "" if status is None else f" (status {status})"


def _judge_beyond(facts: ProbeFacts) -> tuple[str | None, str]:
    beyond, of = facts.beyond, facts.beyond_of
    if beyond is None or of is None:
        return None, "without a total the last page is unknown"
    if not isinstance(beyond, Answered):
        return "refused", f"a page beyond the last is refused{_status(beyond)}"
    if not beyond.rows:
        return "empty", "a page beyond the last is empty"
    first = {call.voice_id for call in of.page.records}
    if beyond.page.current == 1 or {call.voice_id for call in beyond.page.records} == first:
        return "page 1", "a page beyond the last is page 1 again"
    return "other calls", "a page beyond the last holds calls that are on no other page"


def _judge_repeats(facts: ProbeFacts) -> tuple[str | None, str]:
    # Within single responses: between two requests calls move to other pages, so repetitions prove nothing.
    rows = max((len(answer.page.records) for answer in facts.answers), default=0)
    repeated = max(map(_repeated, facts.answers), default=0)
    if repeated:
        return "yes", (
            f"{repeated} of {rows} rows have the id of another row; if the vendor counts each of them, completeness"
            " cannot be verified: allow_incomplete=True (--allow-incomplete) accepts the result"
        )
    if rows < LARGEST // 2:
        return None, f"none in the {rows} rows of one response, which are too few to tell"
    return "not seen", f"none in the {rows} rows of one response"


def _repeated(answer: Answered) -> int:
    ids = [call.voice_id for call in answer.page.records]
    return len(ids) - len(set(ids))


def _judge_filter(facts: ProbeFacts, outcome: ProbeOutcome | None, how: str) -> tuple[str | None, str]:
    if facts.group is None:
        return None, "no call found belongs to a group"
    if outcome is None:
        return None, "no group found has a name with letters"
    if not isinstance(outcome, Answered):
        return "counts", f"a group's name {how} is refused{_status(outcome)}"
    if not outcome.rows:
        return "counts", f"a group's name {how} finds no calls"
    if _ignores_filter([outcome, facts.longer], facts.group):
        return "ignored", "filters are ignored: calls of every group are returned; fetch without a filter and select"
    if all(call.sip_group_name != facts.group for call in outcome.page.records):
        return None, f"a group's name {how} is the name of another group"
    return "does not count", f"a group's name {how} finds its calls, too"


def _ignores_filter(outcomes: Iterable[ProbeOutcome | None], group: str) -> bool:
    *varied, longer = outcomes
    if isinstance(longer, Answered) and longer.rows:
        return True
    names = {
        call.sip_group_name.strip().casefold() if call.sip_group_name else None
        for outcome in varied
        if isinstance(outcome, Answered)
        for call in outcome.page.records
    }
    return bool(names - {group.strip().casefold()})


def _judge_longest(facts: ProbeFacts) -> tuple[str | None, str]:
    calls = facts.calls()
    longest = _longest(calls)
    if longest is None:
        return None, "no call found shows when it began and ended"
    return str(longest), f"the longest of {len(calls)} calls took {longest}; others may take longer"


def _longest(calls: Iterable[CallDetailRecord]) -> timedelta | None:
    spans = [max(times) - min(times) for call in calls if len(times := _times(call)) > 1]
    spans += [timedelta(seconds=call.call_duration) for call in calls if call.call_duration is not None]
    return max(spans, default=None)


def _judge_fields(facts: ProbeFacts) -> tuple[str | None, str]:
    calls = facts.calls()
    unidentified = max((answer.unreadable for answer in facts.answers), default=0)
    faulty = count_names(map(list_faulty_fields, calls))
    unknown = clean_names(count_names(map(list_unknown_fields, calls)))
    words = []
    if unidentified:
        words.append(f"{counted(unidentified, 'record', 'records')} of one response without a readable id")
    if faulty:
        names = [f"{name} ({number:,})" for name, number in sorted(faulty.items())]
        words.append(f"unreadable values of {', '.join(names)}")
    if any(
        _LOCAL_TIME(call.extra[WIRE_NAMES[name]])
        for call in calls
        for name in TIME_FIELDS
        if name in faulty and WIRE_NAMES[name] in call.extra
    ):
        words.append("times without an offset; set assume_tz to their time zone")
    if not words:
        words.append(f"every value of {counted(len(calls), 'call', 'calls')} can be read")
    if unknown:
        words.append(f"unknown fields: {', '.join(sorted(unknown))}")
    return "unreadable" if unidentified or faulty else "readable", "; ".join(words)


def _times(call: CallDetailRecord) -> list[datetime]:
    return [time for field in TIME_FIELDS if (time := getattr(call, field)) is not None]


def _judge_date(facts: ProbeFacts) -> tuple[str | None, str]:
    if facts.date_sent is None:
        return None, "no response was checked"
    if facts.date_sent:
        return "sent", "responses have the vendor's time (Date): clock skew is detected and corrected"
    return "not sent", "responses have no time (no Date): clock skew cannot be measured, so set the clock by NTP"


def _judge_rate(facts: ProbeFacts) -> tuple[str | None, str]:
    if facts.rate is None:
        return None, "no rate was set"
    if facts.throttled:
        return "too fast", f"{facts.rate:g} requests per second are too many: the vendor throttled them"
    return None, f"{facts.rate:g} requests per second were accepted; higher rates were not tested"
