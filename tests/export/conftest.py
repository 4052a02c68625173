"""A fixture of the tests of files."""

import os

import pytest


@pytest.fixture
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not flush: that is for power cuts."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
