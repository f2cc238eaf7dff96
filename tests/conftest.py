"""Fixtures that every room's tests may ask for."""

from pathlib import Path

import pytest

from lib.stage import io, locks


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """An empty project root, which lib.stage.io takes for the real one."""
    monkeypatch.setattr(io, "ROOT", tmp_path)
    monkeypatch.delenv("SAE_DNA_RUNNER", raising=False)
    yield tmp_path
    locks.let_go_of_all()
