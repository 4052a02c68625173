"""The names that users build on, exactly as they were promised."""

import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import pytest
from packaging.requirements import Requirement

import aiosipcdr
from aiosipcdr.client import ClientSettings

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# error: its parent in the tree, and the stdlib's name for it where there is one
ERRORS: dict[str, tuple[str, type[Exception]]] = {
    "SipCdrError": ("Exception", Exception),
    "ClientStateError": ("SipCdrError", RuntimeError),
    "TransportError": ("SipCdrError", ConnectionError),
    "RequestTimeoutError": ("TransportError", TimeoutError),
    "TlsError": ("TransportError", ConnectionError),
    "RedirectError": ("TransportError", ConnectionError),
    "OutageError": ("TransportError", ConnectionError),
    "ProtocolError": ("SipCdrError", ValueError),
    "ResponseTooLargeError": ("ProtocolError", ValueError),
    "SchemaMismatchError": ("ProtocolError", ValueError),
    "FilterIgnoredError": ("ProtocolError", ValueError),
    "VendorError": ("SipCdrError", Exception),
    "AuthenticationError": ("VendorError", Exception),
    "RestrictedAddressError": ("VendorError", Exception),
    "ClockSkewError": ("VendorError", Exception),
    "ThrottledError": ("VendorError", Exception),
    "InvalidQueryError": ("VendorError", Exception),
    "OutOfTimeRangeError": ("VendorError", Exception),
    "ServerFaultError": ("VendorError", Exception),
    "IncompleteRangeError": ("SipCdrError", Exception),
    "ExportError": ("SipCdrError", OSError),
    "ExportConflictError": ("ExportError", OSError),
    "JournalDamagedError": ("ExportError", OSError),
    "StorageError": ("ExportError", OSError),
}

CLASSES = {
    "ArgumentError",
    "ArrowRecords",
    "CallDetailRecord",
    "CallDetailRecords",
    "CdrClient",
    "CdrStream",
    "Change",
    "ChangeFeed",
    "ClientSettings",
    "CompleteWindow",
    "Credentials",
    "DayReport",
    "DaysReport",
    "Event",
    "EventHook",
    "EventKind",
    "ExtraFields",
    "FetchReport",
    "Filters",
    "InsecureTlsWarning",
    "LoggingHook",
    "Page",
    "PageAnswer",
    "PageRequest",
    "Plan",
    "PlanChange",
    "QuarantinedRecord",
    "RateLimiter",
    "RangePart",
    "RatePolicy",
    "RateServer",
    "RemoteRate",
    "RecordsPreview",
    "RequestOwner",
    "RetryPolicy",
    "StatusCode",
    "SyncReport",
    "TimeWindow",
    "WindowReport",
    "WindowShare",
    *ERRORS,
}

# Names of closed sets of texts, and of a callable.
ALIASES = {
    "ChangeKind",
    "CredentialsSource",
    "DayOutcome",
    "ExportFormat",
    "FilterMatch",
    "IfExists",
    "OnVanished",
    "OutOfRange",
    "TimeField",
    "Transition",
}

NAMES = CLASSES | ALIASES | {"encode_params"}

# What `aiosipcdr.__all__` and the `__all__` of these modules name is public.
PUBLIC_MODULES = (
    "aiosipcdr",
    "aiosipcdr.analytics",
    "aiosipcdr.blocking",
    "aiosipcdr.events",
    "aiosipcdr.integrations.aiohttp",
    "aiosipcdr.integrations.dlt",
    "aiosipcdr.integrations.fastapi",
    "aiosipcdr.integrations.opentelemetry",
    "aiosipcdr.integrations.polars",
    "aiosipcdr.progress",
    "aiosipcdr.sandbox",
)

# Modules each of whose public functions and methods has an example.
EXAMPLES = (
    "aiosipcdr",
    "aiosipcdr.analytics",
    "aiosipcdr.blocking",
    "aiosipcdr.events",
    "aiosipcdr.integrations.dlt",
    "aiosipcdr.integrations.polars",
    "aiosipcdr.progress",
    "aiosipcdr.sandbox",
)

# Members that only the package itself uses, with what is public instead.
INTERNAL = {
    "CdrStream.__init__": "CdrClient.stream",
    "BlockingCdrStream.__init__": "BlockingCdrClient.stream",
    "ChangeFeed.__init__": "CdrClient.follow",
    "BlockingIterable.__init__": "BlockingCdrClient.stream",
    "BlockingIterable.__iter__": "the kind of item is its parameter",
    "BlockingCdrStream.__iter__": "likewise",
}

PROTOCOL_METHODS = ("__init__", "__call__", "__enter__", "__aenter__", "__iter__", "__aiter__", "__getitem__")

FILTERS: dict[str, object] = {"sip_group_name": None, "phone_name": None}
CHOICES: dict[str, object] = {"on_out_of_range": "raise", "allow_incomplete": False}
# Asked for by the design's text, in no signature of it.
OPTIONAL: dict[str, object] = {"time_field": None}

# method: positional parameters, keyword-only ones that must be there, others that may
METHODS: dict[str, tuple[dict[str, object], dict[str, object], dict[str, object]]] = {
    "fetch_all": ({}, {**FILTERS, **CHOICES}, OPTIONAL),
    "stream": ({"start": None, "end": None}, {**FILTERS, **CHOICES, "part": None}, OPTIONAL),
    "plan_parts": ({}, {"rows": 50_000, **FILTERS}, {**CHOICES, **OPTIONAL}),
    "count": ({}, FILTERS, {**CHOICES, **OPTIONAL}),
    "fetch_page": ({"current": 1, "size": 100}, FILTERS, OPTIONAL),
    "report": (
        {"path": inspect.Parameter.empty},
        {**FILTERS, **CHOICES, "tz": None, "compare": False, "show_numbers": False, "overwrite": False, "mode": None},
        {**OPTIONAL, "title": "Calls and costs"},
    ),
}

RECORD_FIELDS = [
    "voice_id",
    "sip_group_name",
    "phone_name",
    "callee",
    "display_num",
    "code",
    "submit_time",
    "call_time",
    "ringing_time",
    "answer_time",
    "hangup_time",
    "call_duration",
    "charged_duration",
    "termination_code",
    "termination_reason",
    "cost",
    "bill_period",
    "rate",
    "recording_file_id",
    "currency",
    "settle_rate",
    "quote_exchange",
    "settle_pay",
    "extra",
]

COUNTERS = [
    "total",
    "unique",
    "duplicates",
    "conflicts",
    "quarantined",
    "anomalies",
    "windows",
    "pages",
    "requests",
    "scans",
    "retries",
    "provisional",
]

REQUIRED = inspect.Parameter.empty

# Modules of the standard library that only exports need.
FILES_ONLY = {"csv", "gzip", "importlib.metadata", "zipfile"}

FETCH = """
import asyncio
from aiosipcdr import CdrClient
from aiosipcdr.sandbox import Sandbox

async def fetch():
    async with (
        Sandbox(records=300) as sandbox,
        CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client,
    ):
        span = sandbox.start, sandbox.end
        assert len(await client.fetch_all(*span)) == 300
        async with client.stream(*span) as stream:
            assert len([record async for record in stream]) == 300
        assert (await client.fetch_page(*span)).total == await client.count(*span) == 300
        await {last}

asyncio.run(fetch())
"""


def public_members(cls: type) -> dict[str, Any]:
    return {name: member for name, member in vars(cls).items() if not name.startswith("_")}


def parameters(function: Callable[..., object], kind: object) -> dict[str, object]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is kind and name != "self"
    }


def modules_after(statement: str) -> set[str]:
    """Run `statement` in an interpreter of its own; return the names of the loaded modules."""
    place = str(Path(aiosipcdr.__file__).parent.parent)
    program = "\n".join(
        [f"import sys; sys.path.insert(0, {place!r})", statement, "import json; print(json.dumps(list(sys.modules)))"]
    )
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-W", "error", "-c", program], capture_output=True, text=True, check=True, timeout=240
    )
    return set(json.loads(result.stdout))


def optional_packages() -> set[str]:
    named = {
        Requirement(text).name
        for extra, requirements in PROJECT["optional-dependencies"].items()
        if extra != "all"
        for text in requirements
    }
    assert {"cyclopts", "rich"} <= named
    # What later extras will bring, and what people have installed beside us.
    return named | {"fastapi", "numpy", "opentelemetry", "pandas", "polars", "pyarrow", "pytest", "uvloop", "winloop"}


def test_the_root_offers_the_promised_names_and_no_other() -> None:
    assert set(aiosipcdr.__all__) - {"__version__"} == NAMES
    assert len(aiosipcdr.__all__) == len(set(aiosipcdr.__all__))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_promised_name_is_a_class_with_a_docstring(name: str) -> None:
    offered = getattr(aiosipcdr, name)

    assert inspect.isclass(offered)
    assert offered.__name__ == name
    assert vars(offered).get("__doc__")


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_public_method_has_a_docstring(name: str) -> None:
    bare = []
    for member_name, member in public_members(getattr(aiosipcdr, name)).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if (inspect.isfunction(function) or isinstance(function, property)) and not function.__doc__:
            bare.append(member_name)

    assert bare == []


def has_example(text: str) -> bool:
    """Whether a docstring has an indented block outside its sections."""
    in_section = False
    for line in text.splitlines():
        if line and not line.startswith(" "):
            in_section = line in {"Args:", "Attributes:", "Raises:", "Returns:", "Yields:"}
        if line.startswith("    ") and not in_section:
            return True
    return False


def test_an_example_is_an_indented_block_outside_the_sections() -> None:
    assert has_example("Return it.\n\n    it()\n\nArgs:\n    it: It.")
    assert not has_example("Return it.\n\nArgs:\n    it: It.\n\nSource: a page.")


def test_every_public_method_has_an_example() -> None:
    bare, seen = set(), 0
    for module in EXAMPLES:
        for name in importlib.import_module(module).__all__:
            offered = getattr(importlib.import_module(module), name)
            functions = {name: offered} if inspect.isfunction(offered) else {}
            for kind in offered.__mro__ if inspect.isclass(offered) else ():
                if kind.__module__.startswith("aiosipcdr"):
                    functions |= {f"{name}.{key}": getattr(one, "__func__", one) for key, one in vars(kind).items()}
            for path, function in functions.items():
                if path.rpartition(".")[2].startswith("_") or not inspect.isfunction(function):
                    continue
                if function.__doc__ == "Refuse to change them.":  # the changing methods of a read-only dict
                    continue
                seen += 1
                if not has_example(inspect.cleandoc(function.__doc__ or "")):
                    bare.add(path)
    assert bare == set()
    assert seen > 80


def test_the_root_knows_no_other_name() -> None:
    name = "Nonsense"

    assert not hasattr(aiosipcdr, name)
    with pytest.raises(AttributeError, match=name):
        getattr(aiosipcdr, name)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("aiosipcdr.events", ["Event", "EventHook", "EventKind", "LoggingHook", "combine"]),
        ("aiosipcdr.integrations.opentelemetry", ["OpenTelemetryHook"]),
    ],
)
def test_hooks_have_the_promised_names(module: str, names: list[str]) -> None:
    assert importlib.import_module(module).__all__ == names


def members(name: str, offered: object) -> Iterator[tuple[str, Any]]:
    """Yield a public name and its public members that have annotations, inherited ones of this package included."""
    if inspect.isfunction(offered):
        yield name, offered
    if not isinstance(offered, type):
        return
    yield name, offered
    for kind in offered.__mro__:
        if not kind.__module__.startswith("aiosipcdr"):
            continue
        for member_name, member in vars(kind).items():
            if member_name.startswith("_") and member_name not in PROTOCOL_METHODS:
                continue
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function):
                yield f"{name}.{member_name}", function


def parts(hint: Any) -> Iterator[Any]:  # noqa: ANN401 - an annotation may be anything
    """Yield the types that an annotation is made of; a Literal is one."""
    origin = get_origin(hint)
    if isinstance(hint, list | tuple):  # the arguments of a Callable
        for inner in hint:
            yield from parts(inner)
    elif origin is None or origin is Literal:
        yield hint
    else:
        yield origin
        for inner in get_args(hint)[:1] if origin is Annotated else get_args(hint):
            yield from parts(inner)


def test_every_type_in_a_public_annotation_has_a_public_name() -> None:
    public = {
        f"{module}.{name}": getattr(importlib.import_module(module), name)
        for module in PUBLIC_MODULES
        for name in importlib.import_module(module).__all__
    }
    assert len(public) > 80
    named = [offered for offered in public.values() if isinstance(offered, type)]
    literals = [get_args(offered) for offered in public.values() if get_origin(offered) is Literal]
    unnamed, seen, internal = set(), 0, set()
    for path, offered in public.items():
        for name, member in members(path.rpartition(".")[2], offered):
            for key, hint in get_type_hints(member, include_extras=True).items():
                place = {name, f"{name}.{key}"} & INTERNAL.keys()
                internal |= place
                if key.startswith("_") or place:
                    continue
                for part in parts(hint):
                    seen += 1
                    if get_origin(part) is Literal:
                        # The sandbox's settings are in one class, beside their docstrings.
                        is_set = len(get_args(part)) > 1 and path.startswith("aiosipcdr.") and path.count(".") == 1
                        if is_set and get_args(part) not in literals:
                            unnamed.add(f"{name}.{key}: {part}")
                    elif isinstance(part, str | TypeVar) or (
                        isinstance(part, type) and part.__module__.startswith("aiosipcdr") and part not in named
                    ):
                        unnamed.add(f"{name}.{key}: {part}")
    assert unnamed == set()
    assert seen > 500
    assert internal == INTERNAL.keys()


def test_dir_lists_the_promised_names() -> None:
    assert set(dir(aiosipcdr)) >= NAMES


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_an_error_has_its_place_in_the_tree(name: str) -> None:
    parent, stdlib = ERRORS[name]
    error = getattr(aiosipcdr, name)

    assert error.__bases__[0].__name__ == parent
    assert issubclass(error, stdlib)
    assert issubclass(error, aiosipcdr.SipCdrError)
    assert not issubclass(error, BaseExceptionGroup)


def test_the_client_is_constructed_as_promised() -> None:
    init = aiosipcdr.CdrClient.__init__

    assert parameters(init, inspect.Parameter.POSITIONAL_OR_KEYWORD) == {
        "base_url": REQUIRED,
        "api_key": REQUIRED,
        "api_secret": None,  # a callable that returns Credentials needs none beside it
    }
    assert parameters(init, inspect.Parameter.KEYWORD_ONLY) == {
        "concurrency": 8,
        "page_size": 100,
        "rate": None,
        "retry": aiosipcdr.RetryPolicy(),
        "timeout": 60.0,
        "lateness": timedelta(hours=4),
        "count_delay": timedelta(seconds=1),
        "strict": False,
        "assume_tz": None,
        "filter_match": "exact",
        "max_response_bytes": None,
        "session": None,
        "proxy": None,
        "trust_env": False,
        "ssl_context": None,
        "user_agent": None,
        "hook": None,
    }
    assert {parameter.kind for parameter in inspect.signature(init).parameters.values()} == {
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    }


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_has_the_documented_parameters(method: str) -> None:
    positional, keywords, others = METHODS[method]
    function = getattr(aiosipcdr.CdrClient, method)

    assert parameters(function, inspect.Parameter.POSITIONAL_OR_KEYWORD) == {
        "start": REQUIRED,
        "end": REQUIRED,
        **positional,
    }
    offered = parameters(function, inspect.Parameter.KEYWORD_ONLY)
    assert {name: offered.get(name, "missing") for name in keywords} == keywords
    further = {name: default for name, default in offered.items() if name not in keywords}
    assert further.items() <= others.items()


def test_export_has_the_documented_parameters() -> None:
    export = aiosipcdr.CdrClient.export

    assert parameters(export, inspect.Parameter.POSITIONAL_OR_KEYWORD) == dict.fromkeys(
        ("start", "end", "path"), REQUIRED
    )
    offered = parameters(export, inspect.Parameter.KEYWORD_ONLY)
    promised = (
        {"format": None, "if_exists": "verify", "overwrite": False, "restart": False} | FILTERS | CHOICES | OPTIONAL
    )
    form = {"spreadsheet": False, "mask_numbers": None, "sidecars": None, "mode": None, "lock": True}
    assert offered == promised | form | {"adjacent": False, "relative": False, "tz": None}
    assert list(offered)[:3] == ["format", "if_exists", "overwrite"]
    assert inspect.iscoroutinefunction(export)

    days = aiosipcdr.CdrClient.export_days
    assert list(parameters(days, inspect.Parameter.POSITIONAL_OR_KEYWORD)) == ["first", "last", "tz", "path"]
    offered = parameters(days, inspect.Parameter.KEYWORD_ONLY)
    assert offered == promised | form | {"recheck": timedelta(0), "on_day": None, "processes": 1}
    assert inspect.iscoroutinefunction(days)


def test_sync_has_the_documented_parameters() -> None:
    sync = aiosipcdr.CdrClient.sync

    assert parameters(sync, inspect.Parameter.POSITIONAL_OR_KEYWORD) == {"url": REQUIRED}
    assert parameters(sync, inspect.Parameter.KEYWORD_ONLY) == FILTERS | OPTIONAL | {
        "since": None,
        "lookback": timedelta(days=3),
        "deep": False,
        "on_vanished": "mark",
        "table": "calls",
        "schema": None,
        "dry_run": False,
        "allow_mass_vanish": False,
    }
    assert inspect.iscoroutinefunction(sync)


def test_follow_has_the_documented_parameters() -> None:
    follow = aiosipcdr.CdrClient.follow

    assert parameters(follow, inspect.Parameter.POSITIONAL_OR_KEYWORD) == {"since": None}
    assert parameters(follow, inspect.Parameter.KEYWORD_ONLY) == FILTERS | OPTIONAL | {
        "every": 60.0,
        "lookback": timedelta(hours=6),
        "deep_every": timedelta(hours=6),
        "checkpoint": None,
        "once": False,
    }
    assert aiosipcdr.Change.__struct_fields__ == ("kind", "record", "before", "leg", "key")


def test_only_methods_that_await_are_coroutine_functions() -> None:
    client = aiosipcdr.CdrClient

    for name in (
        "fetch_all",
        "fetch_page",
        "count",
        "plan_parts",
        "report",
        "open",
        "aclose",
        "__aenter__",
        "__aexit__",
    ):
        assert inspect.iscoroutinefunction(getattr(client, name)), name
    for name in ("stream", "from_env"):
        assert not inspect.iscoroutinefunction(getattr(client, name)), name
        assert not inspect.isasyncgenfunction(getattr(client, name)), name


def test_from_env_is_a_classmethod_that_asks_for_nothing() -> None:
    assert inspect.ismethod(aiosipcdr.CdrClient.from_env)
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    asked_for = [
        parameter.name
        for parameter in inspect.signature(aiosipcdr.CdrClient.from_env).parameters.values()
        if parameter.default is REQUIRED and parameter.kind not in variadic
    ]

    assert asked_for == []


def test_from_env_takes_each_setting_of_the_constructor_by_its_name() -> None:
    settings = parameters(aiosipcdr.CdrClient.__init__, inspect.Parameter.KEYWORD_ONLY)

    assert list(settings) == list(ClientSettings.__annotations__)


def test_a_record_has_the_promised_fields() -> None:
    fields = msgspec.structs.fields(aiosipcdr.CallDetailRecord)

    assert [field.name for field in fields] == RECORD_FIELDS
    assert [field.name for field in fields if field.required] == ["voice_id"]
    optional = {field.name for field in fields} - {"voice_id", "extra"}
    assert {field.name for field in fields if field.default is None} == optional


def test_a_record_is_not_generic() -> None:
    record = aiosipcdr.CallDetailRecord

    assert not hasattr(record, "__parameters__")
    assert Generic not in record.__mro__
    hints = get_type_hints(record)
    for name in ("cost", "rate", "settle_rate", "quote_exchange", "settle_pay"):
        assert hints[name] == Decimal | None
    assert {field.name: field.type for field in msgspec.structs.fields(record)} == get_type_hints(
        record, include_extras=True
    )


def test_a_record_has_the_promised_properties_and_methods() -> None:
    members = public_members(aiosipcdr.CallDetailRecord)

    assert {name for name, member in members.items() if isinstance(member, property)} == {"answered", "post_dial_delay"}
    assert {name for name, member in members.items() if inspect.isfunction(member)} == {"to_dict", "to_json"}


def test_a_page_has_the_promised_fields() -> None:
    fields = msgspec.structs.fields(aiosipcdr.Page)

    assert [field.name for field in fields] == ["total", "size", "current", "pages", "records", "quarantined"]


def test_a_report_has_the_promised_fields_and_starts_at_nothing() -> None:
    report = msgspec.structs.asdict(aiosipcdr.FetchReport())

    details = ["window_reports", "unknown_fields", "faulty_fields", "clipped_to"]
    assert list(report) == [*COUNTERS, "certified", "elapsed", *details]
    assert report["clipped_to"] is None
    assert [report[name] for name in COUNTERS] == [0] * len(COUNTERS)
    assert report["certified"] is False
    assert isinstance(report["elapsed"], float)
    assert report["window_reports"] == []
    assert report["unknown_fields"] == report["faulty_fields"] == {}


def test_the_records_of_a_range_are_a_list_with_a_report() -> None:
    records = aiosipcdr.CallDetailRecords()

    assert isinstance(records, list)
    assert isinstance(records.report, aiosipcdr.FetchReport)
    for stream in (records, records.arrow):
        assert hasattr(stream, "__arrow_c_stream__")
    assert not isinstance(records.arrow, list)


def test_importing_the_package_loads_neither_aiohttp_nor_anything_optional() -> None:
    loaded = modules_after("import aiosipcdr; aiosipcdr.__version__")

    assert "aiosipcdr" in loaded
    assert loaded & {"aiohttp", *optional_packages()} == set()


def test_using_every_name_and_the_sandbox_loads_nothing_optional() -> None:
    loaded = modules_after(
        "import aiosipcdr, aiosipcdr.sandbox; [getattr(aiosipcdr, name) for name in aiosipcdr.__all__];"
        " aiosipcdr.CdrClient('http://127.0.0.1:9/v3/voice', 'key', 'secret')"
    )

    assert {"aiosipcdr.client", "aiosipcdr.sandbox", "aiohttp"} <= loaded
    # aiohttp itself loads the compressors that it finds.
    assert loaded & optional_packages() <= {"backports.zstd"}


def test_the_client_loads_nothing_that_only_files_commands_or_servers_need() -> None:
    loaded = modules_after("from aiosipcdr import CdrClient")

    assert {"aiosipcdr.client", "aiosipcdr.engine.engine", "aiohttp"} <= loaded
    packages = {name.split(".")[1] for name in loaded if name.startswith("aiosipcdr.")}
    assert packages & {"cli", "export", "integrations", "pytest_plugin", "sandbox"} == set()
    # Modules that the dependencies load by themselves, in any version, do not count.
    ours = loaded - modules_after("import aiohttp, anyio, msgspec")
    assert ours & FILES_ONLY == set()


def test_fetching_imports_nothing_later_and_the_first_export_imports_files(tmp_path: Path) -> None:
    before = modules_after("import aiosipcdr.client, aiosipcdr.sandbox")
    fetched = modules_after(FETCH.format(last="client.ping()"))
    exported = modules_after(FETCH.format(last=f"client.export(*span, {str(tmp_path / 'calls.csv')!r})"))

    def added(loaded: set[str]) -> set[str]:
        return {name for name in loaded - before if name.startswith("aiosipcdr.")}

    # An import in a running event loop makes everything else in it wait, and may fail there.
    assert added(fetched) == set()
    assert {"aiosipcdr.export", "aiosipcdr.export.job"} <= added(exported)


def test_rich_shows_no_more_than_repr() -> None:
    # A struct's __rich_repr__ shows every field, even if its __repr__ does not.
    structs = [
        kind
        for found in pkgutil.walk_packages(aiosipcdr.__path__, "aiosipcdr.")
        if not found.name.endswith(("__main__", "integrations.spark"))  # PySpark is not installed here
        for kind in vars(importlib.import_module(found.name)).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == found.name
    ]
    assert len(structs) > 15
    hidden = [kind for kind in structs if "__repr__" in vars(kind)]
    assert len(hidden) >= 7
    assert [kind for kind in hidden if "__rich_repr__" not in vars(kind)] == []


def test_the_version_is_written_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", aiosipcdr.__version__)
    assert PROJECT["dynamic"] == ["version"]


def test_the_installed_version_is_this_one() -> None:
    try:
        installed = importlib.metadata.version("aiosipcdr")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is used from a checkout here; nox installs it")

    assert installed == aiosipcdr.__version__


def test_the_types_are_shipped() -> None:
    assert (Path(aiosipcdr.__file__).parent / "py.typed").read_bytes() == b""


def test_the_core_needs_three_packages() -> None:
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    assert sorted(one.name for one in requirements if one.marker is None) == ["aiohttp", "anyio", "msgspec"]
    # Windows has no time zones of its own.
    assert [(one.name, str(one.marker)) for one in requirements if one.marker] == [
        ("tzdata", 'sys_platform == "win32"')
    ]


# Left out of `all`: an event loop changes how every library in a process does its I/O, so installing features does not
# bring it along; deltalake has 140 MB; Spark has 450 MB, needs Java, and is there already where it is used; so is dlt,
# a framework that brings some twenty packages.
NOT_IN_ALL = {"all", "delta", "dlt", "spark", "speed"}


def test_the_extra_all_leaves_out_a_loop_and_large_packages() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = (Requirement(text) for text in extras["all"])

    assert everything.name == "aiosipcdr"
    assert everything.extras == set(extras) - NOT_IN_ALL
    assert everything.extras
