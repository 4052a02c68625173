"""What tests of files share."""

import os

import pytest

from aiosipcdr.export import keys


@pytest.fixture
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: flushing is for power cuts, and a test makes none."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the processor: a key that nobody attacks need not cost a tenth of a second."""
    monkeypatch.setattr(keys, "N", 16)
