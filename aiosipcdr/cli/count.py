"""`aiosipcdr count`: the vendor's number of calls in a range.

Fetches no record. Only the number is printed on stdout.
"""

from dataclasses import replace
from datetime import UTC, datetime

from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.event_log import EventLog, warn
from aiosipcdr.cli.options import Network
from aiosipcdr.cli.output import print_json, print_line
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, resolve_settings
from aiosipcdr.cli.timerange import Range, explain_no_calls, parse_range, read_phone

__all__ = ["count"]


def count(
    *,
    span: Range = Range(),  # noqa: B008 - frozen
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    json: bool = False,
    log_json: bool = False,
) -> int:
    """Print how many calls the vendor counts in a range.

    Several groups are counted one by one, and added.

    Args:
        span: The query.
        account: The account.
        network: The network.
        json: Print the number as JSON, with the range.
        log_json: Log to stderr, one JSON object per line.
    """
    now = datetime.now(UTC)
    span = replace(span, phone=read_phone(span.phone, span.phone_file))
    start, end = parse_range(span, now)
    client = build_client(resolve_settings(account), Pace(), EventLog() if log_json else None, network=network)

    async def ask() -> dict[str | None, int]:
        async with client:
            return {
                group: await client.count(start, end, sip_group_name=group, phone_name=span.phone)
                for group in span.groups
            }

    numbers = run_to_end(ask())
    number = sum(numbers.values())
    if not number and (reason := explain_no_calls(span, start, now)) is not None:
        warn(reason, log_json=log_json)
    if json:
        by_group = {"groups": numbers} if len(numbers) > 1 else {}
        print_json({"count": number, "start": start.isoformat(), "end": end.isoformat(), **by_group})
    else:
        print_line(str(number))
    return 0
