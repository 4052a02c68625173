"""The table of faults of vendor, wire and pages, with the expected outcome.

Data only; `test_matrix.py` plays every row. Here are connections and HTTP
and the rows tested elsewhere; `odd_answers.py` holds the rest.
"""

from unittest.mock import ANY

from aiosipcdr import (
    AuthenticationError,
    ProtocolError,
    RedirectError,
    RequestTimeoutError,
    ResponseTooLargeError,
    RestrictedAddressError,
    ServerFaultError,
    ThrottledError,
    TransportError,
)
from aiosipcdr.sandbox import Fault
from tests.faults.odd_answers import AS_JSON, IN_THE_VENDORS_WORDS, PAGING
from tests.faults.shapes import Outcome, Row, fatal, http, retried

ON_THE_WIRE = [
    retried(6, "reset before a byte", Fault("reset"), TransportError, 6),
    retried(6, "closed before a byte", Fault("close"), TransportError, 6),
    retried(6, "reset, after other answers", Fault("reset"), TransportError, 7, warm=True),
    retried(6, "closed, after other answers", Fault("close"), TransportError, 7, warm=True),
    retried(7, "head cut", Fault("cut-head", after=20), TransportError, 6),
    retried(7, "head cut by a reset", Fault("cut-head", after=20, reset=True), TransportError, 6),
    retried(8, "body cut", Fault("cut"), TransportError, 6),
    retried(8, "body cut by a reset", Fault("cut", reset=True), TransportError, 6),
    retried(9, "chunk cut", Fault("cut-chunked"), TransportError, 6),
    retried(9, "chunk cut by a reset", Fault("cut-chunked", reset=True), TransportError, 6),
    retried(10, "body without a length cut", Fault("cut-unframed"), ProtocolError, 3),
    retried(11, "gzip cut", Fault("cut-gzip"), TransportError, 6),
    retried(11, "gzip cut in its last byte", Fault("cut-gzip", after=120), TransportError, 6),
    retried(12, "gzip with a wrong sum", Fault("corrupt-gzip"), TransportError, 6),
    retried(12, "gzip that is none", Fault("http", body="{}", headers={"Content-Encoding": "gzip"}), TransportError, 6),
    fatal(13, "gzip bomb", Fault("bomb", size=9 * 2**20), error=ResponseTooLargeError),
    fatal(14, "a GiB announced", Fault("large"), error=ResponseTooLargeError),
    fatal(14, "endless chunks", Fault("endless"), error=ResponseTooLargeError),
    retried(15, "body longer than declared", Fault("long"), ProtocolError, 3),
    retried(
        16,
        "no HTTP",
        Fault("garbage"),
        ProtocolError,
        3,
        python=Outcome(requests=6, error=TransportError, retryable=True),
        why="in pure Python it is a lost connection",
    ),
    retried(16, "huge header", Fault("huge-head"), ProtocolError, 3),
    retried(16, "200 headers", Fault("many-heads"), ProtocolError, 3),
    Row(
        number=16,
        name="two lengths",
        faults=(Fault("two-lengths"),),
        passes=True,
        whole=Outcome(requests=3, error=ProtocolError, retryable=True),
        python=Outcome(requests=4, report={"requests": ANY, "retries": ANY}),
        python_page=Outcome(requests=1),
        why="in pure Python the first length counts and the answer is whole; the connection is dead",
    ),
    fatal(17, "unknown encoding", Fault("edit", prefix=" ", headers={"Content-Encoding": "br"}), error=ProtocolError),
    retried(18, "a byte now and then", Fault("drip", seconds=0.02), RequestTimeoutError, 2, impatient=True),
    retried(19, "no answer", Fault("hang"), RequestTimeoutError, 2, impatient=True),
    retried(19, "body stalls", Fault("stall"), RequestTimeoutError, 2, impatient=True),
    retried(19, "answer too late", Fault("late", seconds=30), RequestTimeoutError, 2, impatient=True),
]

OVER_HTTP = [
    retried(20, "429", http(429), ThrottledError, 6, status=429),
    retried(20, "429 with a wish", http(429, Retry_After="0"), ThrottledError, 6, status=429, retry_after=0),
    retried(20, "503 with a wish", http(503, Retry_After="0"), ThrottledError, 6, status=503, retry_after=0),
    *(
        fatal(
            20,
            f"{status} with a wish that is too long",
            http(status, Retry_After="121"),
            error=ThrottledError,
            status=status,
            retryable=True,
            retry_after=121,
        )
        for status in (429, 503)
    ),
    retried(
        21,
        "a date that is past",
        http(429, Retry_After="Thu, 01 Jan 2015 00:00:00 GMT"),
        ThrottledError,
        6,
        status=429,
        retry_after=0,
    ),
    fatal(
        21,
        "a date by the server's own clock",
        http(503, Retry_After="Thu, 01 Jan 2015 00:05:00 GMT", Date="Thu, 01 Jan 2015 00:00:00 GMT"),
        error=ThrottledError,
        status=503,
        retryable=True,
        retry_after=300,
    ),
    *(
        retried(22, f"wish {wish}", http(429, Retry_After=wish), ThrottledError, 6, status=429)
        for wish in ("soon", "-5", "nan", "inf", "1e9", "999999999999")
    ),
    *(
        retried(23, f"HTTP {status}", http(status), ServerFaultError, 6, status=status)
        for status in (500, 502, 503, 504, 408, 409, 425)
    ),
    *(
        fatal(24, f"HTTP {status}", http(status), error=ProtocolError, status=status)
        for status in (501, 505, 400, 404, 405, 413, 415)
    ),
    fatal(25, "HTTP 401", http(401), error=AuthenticationError, status=401),
    fatal(
        25,
        "HTTP 403 of a firewall",
        Fault("http", status=403, body="<html>", headers={"Content-Type": "text/html"}),
        error=RestrictedAddressError,
        status=403,
    ),
    fatal(25, "HTTP 407", http(407), error=TransportError, status=407),
    *(
        fatal(26, f"HTTP {status}", http(status, Location="http://127.0.0.1:9/"), error=RedirectError, status=status)
        for status in (300, 301, 302, 303, 304, 307, 308)
    ),
    retried(
        27,
        "a page to log in",
        Fault("http", body="<!doctype html><title>Log in</title>", headers={"Content-Type": "text/html"}),
        ProtocolError,
        3,
    ),
    retried(28, "204", http(204), ProtocolError, 3, status=204),
    retried(28, "empty 200", http(200), ProtocolError, 3),
    Row(
        number=30,
        name="503, then 401",
        faults=(http(503), http(401)),
        strikes=1,
        whole=Outcome(requests=2, error=AuthenticationError, status=401),
    ),
]

ROWS = [*ON_THE_WIRE, *OVER_HTTP, *AS_JSON, *IN_THE_VENDORS_WORDS, *PAGING]

ELSEWHERE = {
    1: "tests/faults/test_connecting.py::test_a_name_that_cannot_be_resolved_is_tried_twice",
    2: "tests/faults/test_connecting.py::test_a_refused_connection_is_tried_again",
    3: "tests/faults/test_connecting.py::test_an_untrusted_certificate_ends_the_run_at_once",
    4: "tests/faults/test_each_method.py::test_row_4_https_on_a_plain_port_is_reported_after_two_attempts",
    5: "tests/faults/test_connecting.py::test_a_connection_that_is_not_accepted_times_out",
    29: "tests/faults/test_connecting.py::test_a_proxy_that_refuses_ends_it_at_once",
    51: "tests/faults/test_each_method.py::test_row_51_a_signature_is_made_when_the_connection_is_there",
    68: "tests/faults/test_each_method.py::test_row_68_a_window_that_is_not_settled_is_certified_and_provisional",
    69: "tests/faults/test_each_method.py::test_row_69_an_invalid_range_is_refused_before_any_request",
    70: "tests/faults/test_each_method.py::test_row_70_a_cancellation_comes_out_as_it_is",
    71: "tests/faults/test_each_method.py::test_row_71_a_signal_ends_it_and_leaves_nothing",
    72: "tests/cli/test_kills.py::test_a_file_is_the_same_however_often_its_export_was_killed",
    73: "tests/export/test_journal.py::test_rows_are_synced_to_disk_within_a_second",
    74: "tests/export/test_publishing.py::test_a_full_disk_at_any_system_call_is_reported_and_the_next_run_resumes",
    75: "tests/export/test_job.py::test_a_file_that_appears_meanwhile_is_not_lost_and_gets_no_manifest",
    76: "tests/export/test_job.py::test_a_second_process_says_so_and_goes_on_when_the_first_is_killed",
    77: "tests/client/test_export.py::test_another_query_does_not_touch_an_unfinished_export",
    78: "tests/export/test_job.py::test_a_folder_that_vanishes_is_reported_and_the_next_run_starts_over",
    79: "tests/faults/test_each_method.py::test_row_79_a_closed_client_or_session_says_so",
    80: "tests/faults/test_each_method.py::test_row_80_a_client_belongs_to_the_loop_it_is_opened_in",
    81: "tests/faults/test_each_method.py::test_row_81_a_forked_child_gets_an_error",
    82: "tests/faults/test_each_method.py::test_rows_82_and_83_a_clock_that_jumps_costs_a_fresh_signature",
    83: "tests/faults/test_each_method.py::test_rows_82_and_83_a_clock_that_jumps_costs_a_fresh_signature",
    84: "tests/client/test_stream.py::test_a_reader_that_stops_stops_the_fetching",
    85: "tests/client/test_stream.py::test_a_stream_that_is_left_does_not_cancel_its_caller",
    86: "tests/faults/test_each_method.py::test_row_86_hook_exceptions_are_raised_unchanged",
    87: "tests/faults/test_each_method.py::test_row_87_an_outage_ends_with_the_budget_or_the_stall",
}
