"""Hostile files and manifests: no terminal control, no path outside the folder, bounded memory."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.export import MANIFEST, Manifest, open_encoder, read_facts, read_manifest
from aiosipcdr.export.formats.compressed import load_zstd
from aiosipcdr.export.keys import DerivedKey, KeyDerivation
from aiosipcdr.export.manifest import encode_manifest
from aiosipcdr.export.render import ROW_FIELDS, encode_rows
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import FetchReport, WindowReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.sandbox import Sandbox
from tests.cli.conftest import ROOT
from tests.made_up_calls import START
from tests.made_up_exports import END, sidecar_path
from tests.selection import ALL, some
from tests.test_display import ATTACKS, unsafe

MIB = 1024 * 1024
ALL_ATTACKS = "".join(ATTACKS).encode("utf-8", "replace").decode() + "\nclean\n"


def stolen(path: Path, **changes: Any) -> Manifest:  # noqa: ANN401
    """Return a manifest that matches the file at `path`, with `changes`: anybody can make one."""
    data = path.read_bytes()
    format_name = path.name.partition(".")[2]
    try:
        facts = read_facts(path, format_name)
        rows, money = facts.rows, facts.money
    except OSError:
        rows, money = 1, []
    window = WindowReport(window=TimeWindow(START, END), total=rows, unique=rows, requests=1, certified=True)
    report = FetchReport(total=rows, unique=rows, windows=1, certified=True, window_reports=[window])
    manifest = Manifest(
        file=path.name,
        format=format_name,
        query={"start": START, "end": END},  # type: ignore[arg-type]
        key=KeyDerivation(salt="5" * 32, n=16, r=8, p=1),
        account="0" * 16,
        rows=rows,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        certified=True,
        quarantined=0,
        money=money,
        report=report,
        versions={},
        created=START,
    )
    reported = msgspec.to_builtins(manifest) | changes
    return msgspec.convert(reported, type=Manifest)


def put(path: Path, manifest: Manifest) -> None:
    sidecar_path(path, MANIFEST).write_bytes(encode_manifest(manifest, DerivedKey(b"anybody's")))


def written(folder: Path, name: str, **fields: Any) -> Path:  # noqa: ANN401
    encoder = open_encoder(name)
    rows = encode_rows([CallDetailRecord(voice_id="1", cost=Decimal(1), **fields)])
    path = folder / f"calls.{name}"
    path.write_bytes(encoder.begin() + encoder.encode(rows) + encoder.finish())
    return path


def check_shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = run(arguments)
    shown = capsys.readouterr()
    assert not unsafe(shown.out + shown.err)
    assert "\nclean" not in shown.out + shown.err  # no value begins a line
    return code, shown.out + shown.err


STRINGS: list[tuple[dict[str, Any], int]] = [
    ({"file": ALL_ATTACKS}, 1),
    ({"format": ALL_ATTACKS}, 1),
    ({"format": f"csv.{ALL_ATTACKS}"}, 1),
    ({"numbers": ALL_ATTACKS}, 0),
    ({"account": ALL_ATTACKS}, 0),
    ({"phone": ALL_ATTACKS}, 0),
    ({"sha256": ALL_ATTACKS}, 1),
    ({"quarantine_file": ALL_ATTACKS}, 1),
    ({"quarantine_file": ALL_ATTACKS, "quarantined": 3, "quarantine_sha256": ALL_ATTACKS}, 1),
    ({"money": [{"field": ALL_ATTACKS, "currency": ALL_ATTACKS, "sum": "1"}]}, 1),
    ({"versions": {ALL_ATTACKS: ALL_ATTACKS}}, 0),
    ({"query": {"start": START, "end": END, "sip_group_name": ALL_ATTACKS, "time_field": ALL_ATTACKS}}, 0),
]


@pytest.mark.parametrize(("change", "expected"), STRINGS, ids=range(len(STRINGS)))
@pytest.mark.parametrize("json_too", [False, True], ids=["text", "json"])
def test_no_field_of_a_manifest_reaches_the_terminal_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], expected: int, *, json_too: bool
) -> None:
    path = written(tmp_path, "csv")
    put(path, stolen(path, **change))
    code, _ = check_shown(capsys, "verify", str(path), *["--json"] * json_too)
    assert code == expected


@pytest.mark.parametrize("name", ["csv", "ndjson", "parquet"])
def test_no_text_of_a_file_reaches_the_terminal_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = written(tmp_path, name, currency=ALL_ATTACKS.replace("\x00", ""))
    put(path, stolen(path, money=[]))
    code, shown = check_shown(capsys, "verify", str(path))
    assert code == 1
    assert "the sum of cost (\\x1b[2J" in shown


def test_no_name_of_a_file_reaches_the_terminal_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(tmp_path, "csv")
    path = tmp_path / ("\x1b]0;title\x07\u202e\x9b31m" + source.name)
    source.rename(path)
    for code in (1, 0):
        assert check_shown(capsys, "verify", str(path))[0] == code
        put(path, stolen(path, format="csv"))
    assert check_shown(capsys, "verify", str(path), "--json")[0] == 0
    assert check_shown(capsys, "verify", str(tmp_path / "\x1b[2Jnone.csv"))[0] == 1
    assert check_shown(capsys, "verify", str(path), "--debug", "--credentials-file", "\x1b[2J\u202e")[0] == 2


def test_a_name_in_a_manifest_leads_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = written(folder, "csv")
    (tmp_path / "secret").write_bytes(b"a line\n" * 3)
    digest = hashlib.sha256(b"a line\n" * 3).hexdigest()
    for name in ("../secret", str(tmp_path / "secret"), "calls.csv", "", "calls.csv.quarantine"):
        put(path, stolen(path, quarantine_file=name, quarantined=3, quarantine_sha256=digest))
        code, shown = check_shown(capsys, "verify", str(path))
        assert code == 1
        assert "quarantine" in shown
    quarantine = path.with_name("calls.csv.quarantine")
    quarantine.symlink_to(tmp_path / "secret")
    assert "cannot be read" in check_shown(capsys, "verify", str(path))[1]
    quarantine.unlink()
    os.mkfifo(quarantine)
    assert "cannot be read" in check_shown(capsys, "verify", str(path))[1]


@pytest.mark.parametrize("ending", ["", MANIFEST])
def test_a_pipe_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    path = written(tmp_path, "csv")
    put(path, stolen(path))
    sidecar_path(path, ending).unlink()
    os.mkfifo(sidecar_path(path, ending))
    code, shown = check_shown(capsys, "verify", str(path))
    assert code == 1
    assert "is not a plain file" in shown


# Memory.

MEASURE = """
import sys
from aiosipcdr.cli.app import run
from aiosipcdr.cli.summary import peak_memory
code = run(["verify", sys.argv[1]])
print(int(code), peak_memory())
"""


def measured(path: Path) -> tuple[int, float, str]:
    """Verify a file in a process of its own; return the exit code, its peak memory in MiB and what it said."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    code, peak = done.stdout.splitlines()[-1].split()
    return int(code), int(peak) / MIB, done.stdout + done.stderr


def repeated(piece: bytes, total: int, compress: Callable[[bytes], bytes]) -> bytes:
    """`total` bytes of text, compressed: one member after the other, which is one text to a reader."""
    return compress(piece) * (total // len(piece))


UNPACKED = (2_048 if ALL else 512) * MIB


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The peak memory in MiB of the verification of a small file."""
    small = written(tmp_path_factory.mktemp("usual"), "csv")
    put(small, stolen(small))
    return measured(small)[1]


HEAD = (",".join(ROW_FIELDS) + "\r\n").encode()
BOMBS: dict[str, Callable[[], Iterator[bytes]]] = {
    "one line": lambda: iter((HEAD, b"x" * (32 * MIB), b"\r\n")),
    "one field of many lines": lambda: iter((HEAD + b'"', b"x\r\n" * (10 * MIB), b'"\r\n')),
    "one row of many fields": lambda: iter((HEAD, b'"\n",' * (6 * MIB), b"\r\n")),
    "one line of commas": lambda: iter((HEAD, b"," * (32 * MIB), b"\r\n")),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "bomb"),
    [
        *(("csv.gz", bomb) for bomb in some(BOMBS, every=4)),
        *((name, "one line") for name in some(("ndjson.zst", "csv.zst", "ndjson.gz"), every=3)),
    ],
)
def test_a_small_file_that_unpacks_to_very_much_takes_bounded_memory(
    tmp_path: Path, usual: float, name: str, bomb: str
) -> None:
    compress: Callable[[bytes], bytes] = gzip.compress if name.endswith("gz") else load_zstd().compress
    path = tmp_path / f"calls.{name}"
    first, repeated_piece, last = BOMBS[bomb]()
    with path.open("wb") as file:
        file.write(compress(first))
        file.write(repeated(repeated_piece, UNPACKED, compress))
        file.write(compress(last))
    assert path.stat().st_size < 16 * MIB
    small = written(tmp_path, "csv")
    put(small, stolen(small))
    put(path, msgspec.structs.replace(read_manifest(sidecar_path(small, MANIFEST)), file=path.name, format=name))
    code, peak, said = measured(path)
    assert code == 1
    assert f"cannot be read as {name}" in said
    assert peak - usual < 300


def test_a_quarantine_and_a_manifest_of_any_size_take_bounded_memory(tmp_path: Path, usual: float) -> None:
    path = written(tmp_path, "csv")
    quarantine = path.with_name("calls.csv.quarantine")
    put(path, stolen(path, quarantine_file=quarantine.name, quarantined=1, quarantine_sha256="0" * 64))
    quarantine.touch()
    os.truncate(quarantine, UNPACKED // 4)  # one line, sparse on the disk
    code, peak, said = measured(path)
    assert code == 1
    assert "has 0 records" in said
    assert peak - usual < 30
    os.truncate(sidecar_path(path, MANIFEST), 2048 * MIB)
    code, peak, said = measured(path)
    assert code == 1
    assert "is not a manifest" in said
    assert peak - usual < 150


def test_a_file_with_a_currency_for_each_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(30_000):
            file.write(b'{"currency":"%d","answer_time":null,"cost":"1","settle_pay":null}\n' % number)
    small = written(tmp_path, "csv")
    put(small, stolen(small))
    reported = read_manifest(sidecar_path(small, MANIFEST))
    put(path, msgspec.structs.replace(reported, file=path.name, format="ndjson.gz"))
    code, peak, said = measured(path)
    assert code == 1
    assert "names more currencies than any export" in said
    assert peak < 250


def test_a_column_that_unpacks_to_more_than_any_export_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    names = ("currency", "answer_time", "cost", "settle_pay")
    texts = pa.array(["x" * MIB] * 100)
    columns = {name: texts if name == "currency" else pa.nulls(100, pa.string()) for name in names}
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < MIB
    small = written(tmp_path, "csv")
    put(small, stolen(small))
    reported = read_manifest(sidecar_path(small, MANIFEST))
    put(path, msgspec.structs.replace(reported, file=path.name, format="parquet"))
    code, peak, said = measured(path)
    assert code == 1
    assert "cannot be read as parquet" in said
    assert peak < 300


# Calls on a terminal.

STREAM = """
import os, pty, sys
arguments = [sys.executable, "-m", "aiosipcdr", *sys.argv[1:]]
sys.exit(os.waitstatus_to_exitcode(pty.spawn(arguments)))
"""


def test_calls_on_a_terminal_cannot_command_it_and_hold_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in ATTACKS]
    calls = [
        {"voiceId": f"{number}", "sipGroupName": text, "submitTime": START.isoformat(), "newField": text}
        for number, text in enumerate([*texts, "客服一组"])
    ]
    with Sandbox(calls=calls, months_back=None) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        span = ["--start", START.isoformat(), "--end", END.isoformat()]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"}
        piped, shown = (
            subprocess.run(  # noqa: S603 - our own interpreter
                [sys.executable, *how, "export", *span, "--output", "-"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                check=True,
                timeout=240,
                env=environment,
                cwd=tmp_path,
            ).stdout
            for how in (["-m", "aiosipcdr"], ["-c", STREAM])
        )
    lines = [line for line in shown.decode().splitlines() if line.startswith("{")]
    assert len(lines) == len(calls)
    assert not unsafe("\n".join(lines))
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in piped.splitlines()]
    assert unsafe(piped.decode())  # what it is piped into gets the vendor's texts as they are
    assert any("客服一组" in line for line in lines)
