"""The study of the gate's tests, made once and copied for each."""

import shutil
from pathlib import Path

import pytest

from tests.toy_study import make


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project root with the study, and nothing amiss."""
    return make(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def study(root: Path, clean: Path) -> Path:
    """outputs/toy of a copy of that project, which a test may spoil."""
    shutil.copytree(clean, root, dirs_exist_ok=True)
    return root / "outputs/toy"
