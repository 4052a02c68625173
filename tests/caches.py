"""Work that the tests of one process do once: generated calls, and the arguments of commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Final

import pytest

from aiosipcdr.sandbox.calls import CallGenerator, Row

__all__ = ["CONFIG_FIELDS", "assemble_arguments_once", "generate_calls_once"]

CONFIG_FIELDS: Final = (
    *("records", "seed", "utc_offset", "repeat_every", "leg_every"),
    *("time_field", "cost_field", "success_code", "absent", "extra_record_keys"),
)
"""What generated calls depend on, beside start and end: tests/sandbox/test_calls.py compares it with the generator."""

_MAX_RECORDS: Final = 10_000
_generated: dict[tuple[object, ...], tuple[list[list[Row]], Any, int]] = {}


@contextmanager
def generate_calls_once() -> Iterator[None]:
    """Reuse the calls of an earlier sandbox of this process that had the same settings."""
    generate = CallGenerator.batches

    def reuse(self: CallGenerator) -> Iterator[list[Row]]:
        config = self._config
        if self._made or config.records > _MAX_RECORDS:
            yield from generate(self)
            return
        key = (self._start, self._end, *(getattr(config, name) for name in CONFIG_FIELDS))
        if key not in _generated:
            batches = []
            for batch in generate(self):
                batches.append(batch)
                yield [*batch]
            _generated[key] = batches, self._rng.getstate(), self._made
            return
        batches, state, made = _generated[key]
        for batch in batches:
            yield [*batch]
        self._rng.setstate(state)  # for calls that are added later
        self._made = made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CallGenerator, "batches", reuse)
        yield


@contextmanager
def assemble_arguments_once() -> Iterator[None]:
    """Assemble the arguments of each command once: cyclopts does so at every run, which takes longer than most runs."""
    from cyclopts import App, ArgumentCollection, Parameter

    assemble = App.assemble_argument_collection
    known: dict[tuple[int, bool], tuple[App, ArgumentCollection]] = {}

    def assemble_once(
        self: App, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        if default_parameter is not None:
            return assemble(self, default_parameter=default_parameter, parse_docstring=parse_docstring)
        key = id(self), parse_docstring
        if key not in known:
            # The app is kept, so that no other gets its number.
            known[key] = self, assemble(self, parse_docstring=parse_docstring)
        # Parsing changes arguments and reaches them through their parents, and nothing else of what they refer to.
        copies = {id(argument): copy(argument) for argument in known[key][1]}
        for argument in copies.values():
            argument.tokens = []
            argument.children = argument.children.copy()
            argument.children[:] = [copies[id(child)] for child in argument.children]
        collection = known[key][1].copy()
        collection[:] = copies.values()
        return collection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(App, "assemble_argument_collection", assemble_once)
        yield
