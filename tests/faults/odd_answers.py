"""The rows of the table in which a sound connection brings an odd answer: JSON, words, pages.

Data only; `test_matrix.py` plays every row.
"""

from aiosipcdr import (
    AuthenticationError,
    ClockSkewError,
    IncompleteRangeError,
    InvalidQueryError,
    OutOfTimeRangeError,
    ProtocolError,
    ResponseTooLargeError,
    RestrictedAddressError,
    ServerFaultError,
    ThrottledError,
    VendorError,
)
from aiosipcdr.sandbox import Fault
from tests.faults.shapes import (
    CALLS,
    DESIGN,
    Outcome,
    Row,
    body,
    edit,
    fatal,
    proven,
    retried,
    unchanged,
    unfit,
    unread,
    whole_call,
)
from tests.watch import call

AS_JSON = [
    retried(31, "JSON cut", body('{"status":"0","data":{"total":5,'), ProtocolError, 3),
    unchanged(31, "a BOM in front", Fault("edit", prefix="\ufeff")),
    retried(31, "UTF-16", Fault("http", body_hex='{"status":"0"}'.encode("utf-16").hex()), ProtocolError, 3),
    retried(31, "bytes behind it", Fault("edit", suffix="x"), ProtocolError, 3),
    retried(31, "a NUL behind it", Fault("edit", suffix="\0"), ProtocolError, 3),
    retried(32, "no UTF-8 in the status", Fault("edit", old='"0"', new_hex="22fffe22"), ProtocolError, 3),
    unread(
        32,
        "no UTF-8 in a record",
        Fault("edit", old='"callee":"4', new_hex=b'"callee":"\xff'.hex()),
        "callee",
        why=DESIGN,
    ),
    unchanged(
        33,
        "no UTF-8 in an unknown field",
        Fault("edit", old='"voiceId"', new_hex=b'"other":"\xff","voiceId"'.hex()),
        report={"unknown_fields": {"other": 3}},
    ),
    retried(
        34,
        "nested beyond reason",
        body("[" * 100_000),
        ResponseTooLargeError,
        2,
        why="it holds more values than an answer may",
    ),
    retried(
        34,
        "a record nested beyond reason",
        edit('"voiceId"', f'"x":{"[" * 40_000}{"]" * 40_000},"voiceId"'),
        ResponseTooLargeError,
        2,
        why="it holds more values than an answer may",
    ),
    unchanged(
        34,
        "a value nested beyond reason",
        edit('"voiceId"', f'"x":{"[" * 5_000}{"]" * 5_000},"voiceId"'),
        report={"unknown_fields": {"x": 3}},
        others=True,
    ),
    retried(35, "NaN", edit('"total":5', '"total":NaN'), ProtocolError, 3),
    unread(35, "NaN in a record", edit('"callDuration":7', '"callDuration":NaN'), "call_duration", why=DESIGN),
    *(
        unread(36, f"money of {amount}", edit('"cost":"0.25"', f'"cost":{amount}'), "cost", why=DESIGN)
        for amount in ('"NaN"', '"Infinity"', '"1e999999999"', "1e999999999")
    ),
    retried(37, "a total of 10^12", Fault("edit", data={"total": 10**12}), ProtocolError, 3),
    retried(37, "a total of 5,000 digits", edit('"total":5', f'"total":{"9" * 5_000}'), ProtocolError, 3),
    unread(
        37,
        "seconds of 5,000 digits",
        edit('"callDuration":7', f'"callDuration":{"9" * 5_000}'),
        "call_duration",
        why=DESIGN,
    ),
    *(
        retried(38, f"body {text}", body(text), ProtocolError, 3)
        for text in ("null", "[]", "7", '"0"', '{"status":"0"}', '{"status":null}', '{"status":"0","data":{}}')
    ),
    retried(38, "records that are none", Fault("edit", data={"records": {}}), ProtocolError, 3),
    retried(38, "a total of null", Fault("edit", data={"total": None}), ProtocolError, 3),
    unread(38, "an array where text belongs", edit('"callee":"4', '"callee":[1],"x":"4'), "callee"),
    unchanged(39, "status as a number", config={"status_as": "int"}),
    unchanged(39, "status with blanks", edit('"0"', '" 0"')),
    retried(39, "another status as a number", edit('"0"', "-18"), ServerFaultError, 6, status=-18),
    retried(39, "another status as text", edit('"0"', '"-18"'), ServerFaultError, 6, status=-18),
    retried(39, "a status that is none", edit('"0"', '"fine"'), ProtocolError, 3),
    unchanged(40, "a total as text", edit('"total":5', '"total":"5"')),
    *(
        retried(40, f"a total as {text!r}", edit('"total":5', f'"total":"{text}"'), ProtocolError, 3)
        for text in ("1_2", " 12", "", "nan", "null")
    ),
    unchanged(41, "a key twice", edit('"total":5', '"total":1,"total":5')),
    unread(42, "half a character", edit('"callee":"4', '"callee":"\\ud800'), "callee", why=DESIGN),
    unchanged(43, "an unknown field", edit('"voiceId"', '"new":1,"voiceId"'), report={"unknown_fields": {"new": 3}}),
    unchanged(44, "a field of null", edit('"cost":"0.25"', '"cost":null'), others=True),
    unchanged(44, "a field that is empty", edit('"cost":"0.25"', '"cost":""'), others=True),
    unchanged(44, "a field that is absent", edit('"cost":"0.25",', ""), others=True),
    unread(
        45,
        "a time of 24:00",
        edit('"submitTime":"2026-10-01T00', '"submitTime":"2026-10-01T24'),
        "submit_time",
        why=DESIGN,
    ),
    unread(
        45, "a leap second", edit('"callTime":"2026-10-01T00:00:00', '"callTime":"2026-10-01T00:00:60'), "call_time"
    ),
    unread(45, "a date alone", edit('"callTime":"2026-10-01T00:00:00+00:00"', '"callTime":"2026-10-01"'), "call_time"),
    unread(
        45,
        "a time without a zone",
        edit('"callTime":"2026-10-01T00:00:00+00:00"', '"callTime":"2026-10-01T00:00:00"'),
        "call_time",
        why=DESIGN,
    ),
    retried(46, "records of null", Fault("edit", data={"records": None}), ProtocolError, 3),
    Row(
        number=46,
        name="records of null where there are none",
        config={"calls": [], "empty_records": "null"},
        whole=Outcome(requests=2, report={"unique": 0}),
        page=Outcome(requests=1, report={"unique": 0}),
    ),
]

IN_THE_VENDORS_WORDS = [
    unchanged(47, "0"),
    fatal(48, "-1", Fault("code", code=-1), error=AuthenticationError, status=-1),
    fatal(48, "-2", Fault("code", code=-2), error=RestrictedAddressError, status=-2),
    fatal(48, "-13", Fault("code", code=-13), error=AuthenticationError, status=-13),
    retried(49, "-16 with a date that is right", Fault("code", code=-16), ClockSkewError, 2, status=-16),
    retried(
        50, "-16 without a date", Fault("code", code=-16), ClockSkewError, 2, status=-16, config={"send_date": False}
    ),
    retried(52, "-18", Fault("code", code=-18), ServerFaultError, 6, status=-18),
    retried(53, "-15", Fault("code", code=-15), ThrottledError, 6, status=-15),
    fatal(54, "-22", Fault("code", code=-22), error=InvalidQueryError, status=-22),
    Row(
        number=55,
        name="-25 for all of the range",
        faults=(Fault("code", code=-25),),
        whole=Outcome(requests=2, error=OutOfTimeRangeError, status=-25),
        page=Outcome(requests=1, error=OutOfTimeRangeError, status=-25),
        why="the design wins: the edge is looked for, and the error says it",
    ),
    fatal(56, "-99", Fault("code", code=-99), error=VendorError, status=-99),
    fatal(
        56,
        "words that should not be printed",
        Fault("code", code=-99, reason="\x1b[31m+44 7700 900987 12125550178 " + "x" * 300),
        error=VendorError,
        status=-99,
    ),
    retried(57, "-18 in a 500", Fault("code", code=-18, status=500), ServerFaultError, 6, status=500),
    retried(57, "-99 in a 503", Fault("code", code=-99, status=503), ServerFaultError, 6, status=503),
    fatal(57, "-1 in a 500", Fault("code", code=-1, status=500), error=AuthenticationError, status=-1),
]

PAGING = [
    unfit(58, "another page", Fault("edit", data={"current": 7})),
    proven(
        59,
        "a smaller size",
        requests=4,
        config={"max_size": 2},
        report={"anomalies": 1},
        settings={"page_size": 4},
    ),
    proven(
        59,
        "a size of one",
        requests=133,
        config={"max_size": 1},
        error=IncompleteRangeError,
        why="no page can reach beyond the last row that is counted, so the count cannot be checked",
    ),
    unfit(59, "a larger size", Fault("edit", data={"size": 500})),
    unchanged(60, "pages that do not fit", Fault("edit", data={"pages": 99}), report={"anomalies": 3}, others=True),
    proven(
        60,
        "nothing counted",
        requests=30,
        config={"search_count": False},
        error=IncompleteRangeError,
        why="the design wins: without a count there is no proof",
    ),
    proven(61, "a short page", Fault("edit", data={"records": []}), requests=9),
    proven(
        62, "calls arrive", requests=10, config={"insert_every": 2, "drift_requests": 2}, report={"unique": CALLS + 1}
    ),
    proven(
        63, "calls go away", requests=9, config={"delete_every": 2, "drift_requests": 2}, report={"unique": CALLS - 1}
    ),
    proven(
        64,
        "a call twice",
        Fault("edit", page=3, data={"records": [whole_call(4)]}),
        requests=9,
        report={"duplicates": 1, "scans": 2},
    ),
    proven(
        65,
        "a call with other contents",
        Fault("edit", page=3, data={"records": [whole_call(4, cost="7")]}),
        requests=7,
        report={"conflicts": 1, "scans": 2},
    ),
    proven(
        66, "no order", requests=9, config={"order": "none", "calls": [call(hour * 3_600) for hour in range(CALLS)]}
    ),
    proven(66, "a total that is wrong", requests=32, config={"wrong_total": 3}, error=IncompleteRangeError),
    unfit(67, "records from elsewhere", Fault("edit", data={"records": [call(0, submitTime="2024-10-01T00:00:00Z")]})),
    unchanged(67, "an end that is outside", config={"end_inclusive": False}),
]
