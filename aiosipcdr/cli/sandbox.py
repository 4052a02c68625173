"""`aiosipcdr sandbox`: the vendor's endpoint on loopback, in the foreground.

Imports the sandbox, and with it aiohttp, only when it runs. Prints only its address, its credentials and how to use
them on stdout.
"""

import asyncio
import errno
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.exit_codes import CommandError
from aiosipcdr.cli.output import print_json, print_line, print_notice
from aiosipcdr.cli.runner import run_to_end

if TYPE_CHECKING:
    from aiosipcdr.sandbox import Fault, Sandbox

__all__ = ["sandbox"]

_PACE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(?:/([smh]))?").fullmatch
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@Parameter(name="*", group="Behaviour (what the vendor's pages leave open)")
@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """The main settings; `None` keeps the sandbox's default.

    Attributes:
        order: Order of the listing: by time (newest or oldest first), in a fixed order that is not by time (scattered),
            or different for every request (none).
        time_field: The time that a range is compared with.
        absent: How a field without a value is written.
        status_as: Whether the status of a response is a string or a number.
        overflow: The response beyond the last page: no records, page 1, the last page, null, HTTP 204
            or 500, or status -18 or -22.
        max_size: Largest page size; larger ones are reduced to it.
        forced_size: Size of every page, whatever size is requested.
        echo_size: The size in responses: the one used, or the one requested.
        count_cap: Largest value that COUNT returns.
        count_lag: Seconds by which COUNT lags behind.
        leg_every: Every n-th call is transferred: a second record with the same voiceId.
        replica_every: Every n-th query is answered by another replica.
        replica: What that replica lacks: every call, the newest calls, or one call in four.
        cache: A cache that answers identical bodies with the same bytes: "polite" respects
            Cache-Control, "always" does not.
        tolerance: Seconds by which a timestamp may differ.
        clock_offset: Seconds by which the sandbox's clock is ahead.
        rate_limit: Requests per second; requests above it get status -15.
        latency: Seconds before each response.
        insert_every: Every n-th query adds a newest call.
        insert_late_every: Every n-th query adds a call in the middle of its time.
        delete_every: Every n-th query deletes a call.
        change_every: Every n-th query fills in a field of a call.
    """

    order: Literal["newest", "oldest", "scattered", "none"] | None = None
    time_field: Literal["submitTime", "callTime", "ringingTime", "answerTime", "hangupTime"] | None = None
    absent: Literal["null", "empty", "missing"] | None = None
    status_as: Literal["text", "int"] | None = None
    overflow: (
        Literal["empty", "first", "last", "null-records", "null-data", "no-content", "code-18", "code-22", "http-500"]
        | None
    ) = None
    max_size: int | None = None
    forced_size: int | None = None
    echo_size: Literal["used", "requested"] | None = None
    count_cap: int | None = None
    count_lag: float | None = None
    leg_every: int | None = None
    replica_every: int | None = None
    replica: Literal["empty", "lagging", "shard"] | None = None
    cache: Literal["off", "polite", "always"] | None = None
    tolerance: float | None = None
    clock_offset: float | None = None
    rate_limit: float | None = None
    latency: float | None = None
    insert_every: int | None = None
    insert_late_every: int | None = None
    delete_every: int | None = None
    change_every: int | None = None


def sandbox(
    *,
    records: Annotated[int, Parameter(validator=Number(gte=0))] = 10_000,
    calls: Path | None = None,
    live: str | None = None,
    seed: int = 7,
    days: Annotated[int, Parameter(validator=Number(gte=1))] = 30,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 0,
    account: str | None = None,
    database: str = ":memory:",
    behaviour: Behaviour = Behaviour(),
    settings: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    faults: Path | None = None,
    until_stdin_closes: bool = False,
    json: bool = False,
) -> int:
    """Serve the vendor's endpoint on loopback, with generated calls, until Ctrl-C.

    Args:
        records: Number of calls.
        calls: A file of calls to serve instead: NDJSON (also .gz) or a JSON list, with the field names of the API or of
            an export. Rows that no response could list are refused.
        live: Also add calls over time, at a rate per second, minute or hour: 5/s, 30/m or 100/h. They are after the
            displayed range; query them with --last 1h.
        seed: Seed of the generator: the same seed gives the same calls.
        days: Length of the range of the calls.
        port: Port on 127.0.0.1; 0 selects a free one.
        account: Name of the account: the same name gives the same key and secret; by default they are random.
        database: Where the calls are stored: ":memory:", "temp" (a temporary file, removed at the
            end) or the name of a new file.
        behaviour: The main settings.
        settings: Any other field of aiosipcdr.sandbox.SandboxConfig, as NAME=VALUE; may be repeated.
        faults: A JSON file with a list of objects, each with the fields of aiosipcdr.sandbox.Fault:
            which fault happens for which request, for example {"kind": "cut", "page": 3}.
        until_stdin_closes: Also end when stdin is closed, with the process that started this one.
        json: Print one line of JSON with base_url, api_key, api_secret, start and end.
    """
    config: dict[str, Any] = {
        name: value for name in Behaviour.__dataclass_fields__ if (value := getattr(behaviour, name)) is not None
    }
    config |= dict(map(_parse_setting, settings))
    config |= {"records": records, "seed": seed, "days": days, "port": port, "path": database}
    config["account"] = account
    if live is not None:
        config["live"] = _parse_pace(live)
    if calls is not None:
        config["calls"] = _read_calls(calls, config)
    if faults is not None:
        config["faults"] = _read_faults(faults)
    try:
        run_to_end(_serve(config, until_stdin_closes=until_stdin_closes, json=json))
    except OSError as error:
        msg = f"the sandbox cannot start: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            msg = f"the sandbox cannot start: port {port} is in use; take another --port, or 0 for a free one"
        raise CommandError(msg) from None
    return 0


def _parse_setting(text: str) -> tuple[str, object]:
    from aiosipcdr.sandbox import SandboxConfig

    name, equals, value = text.partition("=")
    if not equals:
        msg = "--set needs NAME=VALUE, for example --set gzip=true"
        raise UsageError(msg)
    kinds = get_type_hints(SandboxConfig)
    if name not in kinds:
        msg = f"--set: unknown name {name}; use one of {', '.join(sorted(kinds))}"
        raise UsageError(msg)
    try:
        decoded = msgspec.json.decode(value)
    except msgspec.DecodeError:
        decoded = value
    try:
        return name, msgspec.convert(decoded, kinds[name], strict=False)
    except msgspec.ValidationError as error:
        msg = f"--set {name}: {error}"
        raise UsageError(msg) from None


def _parse_pace(text: str) -> float:
    found = _PACE(text.strip())
    if found is None or not float(found[1]):
        msg = "--live needs a number of calls per second, minute or hour: 5/s, 30/m or 100/h"
        raise UsageError(msg)
    return float(found[1]) / _SECONDS[found[2] or "s"]


def _read_calls(file: Path, config: dict[str, Any]) -> list[Any]:
    from aiosipcdr.sandbox import read_calls

    try:
        return read_calls(file, **config)
    except OSError as error:
        msg = f"--calls: {file} cannot be read: {error.strerror or error}"
    except ValueError as error:
        msg = f"--calls {file}: {error}"
    raise UsageError(msg)


def _read_faults(file: Path) -> list["Fault"]:
    from aiosipcdr.sandbox import Fault

    try:
        entries = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        msg = f"--faults: {file} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"--faults: {file} is not JSON: {error}"
        raise UsageError(msg) from None
    if not isinstance(entries, list):
        msg = f'--faults: {file} must hold a list, for example [{{"kind": "cut", "page": 3}}]'
        raise UsageError(msg)
    faults = []
    for number, entry in enumerate(entries, 1):
        try:
            faults.append(msgspec.convert(entry, Fault))
        except msgspec.ValidationError as error:
            msg = f"--faults: entry {number} of {file}: {error}"
            raise UsageError(msg) from None
    return faults


async def _serve(config: dict[str, Any], *, until_stdin_closes: bool, json: bool) -> None:
    from aiosipcdr.sandbox import serve

    started: list[Sandbox] = []

    def show(running: "Sandbox") -> None:
        started.append(running)
        (_show_json if json else _show)(running)

    serving = asyncio.create_task(serve(on_ready=show, **config))
    tasks = {serving}
    if until_stdin_closes:
        tasks.add(asyncio.create_task(_stdin_closed()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for running in started:
            _report_unused(running.faults_left)


async def _stdin_closed() -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        if sys.stdin is not None:
            while os.read(sys.stdin.fileno(), 1024):
                pass
        loop.call_soon_threadsafe(closed.set)

    # A thread: not every kind of stdin works with the event loop.
    Thread(target=watch, name="aiosipcdr-stdin", daemon=True).start()
    await closed.wait()


def _report_unused(faults: list["Fault"]) -> None:
    if faults:
        number = "1 queued fault was" if len(faults) == 1 else f"{len(faults)} queued faults were"
        print_notice(f"{number} never triggered: {'; '.join(fault.describe() for fault in faults)}")


def _show_json(running: "Sandbox") -> None:
    print_json(
        {
            "base_url": running.base_url,
            "api_key": running.api_key,
            "api_secret": running.api_secret,
            "start": running.start.isoformat(),
            "end": running.end.isoformat(),
        }
    )


def _show(running: "Sandbox") -> None:
    from aiosipcdr.sandbox import curl_line

    start, end = running.start, running.end
    print_line(f"Base URL    {running.base_url}")
    print_line(f"API key     {running.api_key}")
    print_line(f"API secret  {running.api_secret}")
    print_line(f"Start       {start.isoformat()}")
    print_line(f"End         {end.isoformat()}")
    print_line("")
    for name, value in (
        ("BASE_URL", running.base_url),
        ("API_KEY", running.api_key),
        ("API_SECRET", running.api_secret),
    ):
        print_line(f"export AIOSIPCDR_{name}={value}")
    print_line("")
    print_line(curl_line(running.base_url, running.api_key, running.api_secret, start, end))
    print_notice("\nThe sandbox is running; press Ctrl-C to stop it.")
