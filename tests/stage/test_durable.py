"""A file is replaced whole or not at all."""

import os

import pytest

from lib.stage import durable


def test_atomic_write_keeps_the_old_file_when_it_cannot_write(root, monkeypatch):
    durable.atomic_write(root / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.atomic_write(root / "a.txt", "new")
    assert [(p.name, p.read_text()) for p in root.iterdir()] == [("a.txt", "old")]
