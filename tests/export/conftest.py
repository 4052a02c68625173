"""What tests of files share."""

import os

import pytest


@pytest.fixture
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: flushing is for power cuts, and a test makes none."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
