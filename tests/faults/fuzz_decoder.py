"""The decoder under atheris: `nox -s fuzz` runs this; `-runs=N` says how many inputs."""

import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["aiosipcdr.protocol"]):
    from tests.faults.decoded import TRUE, look


def one_input(data: bytes) -> None:
    """Take `data` as an answer, and as the middle of a true one."""
    look(data)
    body = TRUE[len(data) % len(TRUE)]
    at = data[0] * len(body) // 256 if data else 0
    look(body[:at] + data[1:] + body[at + len(data) :])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
