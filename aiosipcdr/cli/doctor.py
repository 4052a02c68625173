"""`aiosipcdr doctor`: checks of an account's settings, one line each.

Shows no secret and no phone number, and does not log in again after a refusal.
"""

import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.markup import escape

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.client import Pace, build_client
from aiosipcdr.cli.exit_codes import Exit
from aiosipcdr.cli.options import Network
from aiosipcdr.cli.output import print_json, print_line, print_table
from aiosipcdr.cli.progress import waiting
from aiosipcdr.cli.runner import run_to_end
from aiosipcdr.cli.settings import Account, Settings, resolve_settings
from aiosipcdr.cli.timerange import Range, parse_range, read_phone
from aiosipcdr.doctor.advice import Check, State, skip_rest
from aiosipcdr.doctor.checks import CheckedRange, Diagnosis, RequestCounter, diagnose
from aiosipcdr.doctor.diagnosis import Finding
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.policy.retry import RetryPolicy

__all__ = ["doctor"]

_BRIEF = RetryPolicy(attempts=2)
_EXPORT = ("aiosipcdr", "export", "--last", "24h", "--output", "calls.csv")
_MARKS = {State.GOOD: ("✓", "ok", "green"), State.WRONG: ("✗", "!!", "red"), State.SKIPPED: ("–", "--", "dim")}


def doctor(
    *,
    span: Range = Range(),  # noqa: B008 - frozen
    account: Account = Account(),  # noqa: B008 - frozen
    network: Network = Network(),  # noqa: B008 - frozen
    probe: bool = False,
    rate: Annotated[float, Parameter(validator=Number(gt=0))] = 2.0,
    json: bool = False,
) -> int:
    """Check settings, network, clock, login and range; report each problem and its solution.

    Exit code 0: no problem; 1: a problem; 4: no problem, but --probe found records or values that cannot be read.

    Args:
        span: The query; by default the last 24 hours.
        account: The account.
        network: The network.
        probe: Also test undocumented properties of the account, with at most 15 requests, and show the resulting
            settings. Uses the range, or the last day; if that holds fewer than 100 calls, the last two months.
        rate: Maximum number of requests per second.
        json: Print the result as JSON.
    """
    span = replace(span, phone=read_phone(span.phone, span.phone_file))
    given = _or_last_day(span)
    start, end = parse_range(given)
    query = CheckedRange(start=start, end=end, group=span.single_group(), phone=span.phone)
    window = TimeWindow.of(start, end) if given is span else None
    try:
        settings = resolve_settings(account)
        found = _examine(settings, network, query, rate, window, probe=probe)
    except UsageError as error:
        found = Diagnosis(checks=[Check("settings", State.WRONG, str(error))])
    found.checks = skip_rest(found.checks)
    account_options = _account_options(account, network)
    if json:
        print_json(_as_json(found, account_options))
    else:
        _show(found, account_options, rate)
    if any(check.state is State.WRONG for check in found.checks):
        return Exit.FAILED
    return Exit.UNREADABLE if _has_unreadable(found) else Exit.DONE


def _has_unreadable(found: Diagnosis) -> bool:
    return any(finding.topic == "fields" and finding.value == "unreadable" for finding in found.findings)


def _or_last_day(span: Range) -> Range:
    nothing = not span.is_given
    return replace(span, last="24h") if nothing else span


def _examine(
    settings: Settings, network: Network, query: CheckedRange, rate: float, window: TimeWindow | None, *, probe: bool
) -> Diagnosis:
    tally = RequestCounter()
    client = build_client(settings, Pace(concurrency=1, rate=rate), tally, _BRIEF, network=network)

    async def ask() -> Diagnosis:
        async with client:
            probe_rate = rate if probe else None
            return await diagnose(client, settings.base_url, query, tally, rate=probe_rate, window=window)

    with waiting("sending requests to the vendor"):
        found = run_to_end(ask())
    found.checks.insert(0, Check("settings", State.GOOD, "address, key and secret are set"))
    return found


def _show(found: Diagnosis, account_options: list[str], rate: float) -> None:
    print_table((_mark(check.state), check.name, escape(check.text)) for check in found.checks)
    if not found.findings:
        return
    print_line(f"\nProperties of the account, from {found.requests} requests, at most {rate:g} per second:\n")
    print_table(_finding_rows(found.findings))
    print_line("\nSettings for this account:\n")
    for line in _setting_lines(found, account_options):
        print_line(f"  {line}")


def _mark(state: State) -> str:
    sign, plain, style = _MARKS[state]
    # In another encoding the tick cannot be printed.
    return f"[{style}]{sign if (sys.stdout.encoding or '').lower().startswith('utf') else plain}[/]"


def _finding_rows(findings: Iterable[Finding]) -> Iterable[tuple[str, str, str, str]]:
    for finding in findings:
        known = finding.value is not None
        yield _mark(State.GOOD if known else State.SKIPPED), finding.topic, finding.value or "unknown", finding.text


def _account_options(account: Account, network: Network) -> list[str]:
    # The options for account and network, for commands to paste.
    proxy = network.proxy if "@" not in (network.proxy or "") else None  # it may hold a password
    given = {
        "--base-url": account.base_url,
        "--credentials-file": account.credentials_file,
        "--proxy": proxy,
        "--ca-file": network.ca_file,
        "--timeout": network.timeout,
    }
    account_options = [
        argument for name, value in given.items() if value is not None for argument in (name, str(value))
    ]
    return [*account_options, "--credentials-stdin"] if account.credentials_stdin else account_options


def _setting_lines(found: Diagnosis, account_options: list[str]) -> list[str]:
    settings, of_method = found.settings, {"time_field"}
    client = _arguments({name: value for name, value in settings.items() if name not in of_method})
    method = _arguments({name: value for name, value in settings.items() if name in of_method})
    lines = [f"CdrClient(..., {client})"] if client else []
    lines += [f"client.fetch_all(..., {method})"] if method else []
    options = [
        argument for name, value in settings.items() for argument in (f"--{name.replace('_', '-')}", _argument(value))
    ]
    if options:
        lines.append(shlex.join([*_EXPORT, *account_options, *options]))
    if not lines and _has_unreadable(found):
        return ["none that the probe can tell; see fields above"]
    return lines or ["none: the defaults are right"]


def _arguments(settings: dict[str, object]) -> str:
    return ", ".join(f"{name}={_python(value)}" for name, value in settings.items())


def _argument(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value // timedelta(hours=1)}h"
    return value if isinstance(value, str) else f"{value:g}"


def _python(value: object) -> str:
    if isinstance(value, timedelta):
        return f"timedelta(hours={value // timedelta(hours=1)})"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _as_json(found: Diagnosis, account_options: list[str]) -> dict[str, Any]:
    return {
        "ok": all(check.state is not State.WRONG for check in found.checks),
        "checks": [{"name": check.name, "state": check.state, "text": check.text} for check in found.checks],
        "probe": {
            "requests": found.requests,
            "findings": found.findings,
            "settings": found.settings,
            "lines": _setting_lines(found, account_options),
        }
        if found.findings
        else None,
    }
