"""One list of pins, and this environment is what it says."""

import importlib.metadata
import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib import WANTED
from lib.run import notebook
from lib.stage import io

LINES = [re.split(r"\s*#", line)[0].strip() for line in (io.ROOT / "requirements.txt").read_text().splitlines()]
PINS = [line for line in LINES if line]
TESTED = ".".join(map(str, WANTED))
REFUSED = rf"found Python 3\.13\.1, wanted {re.escape(TESTED)}, the one that this project is tested with: see README.md"


def test_every_line_is_an_exact_pin_named_once():
    assert [line for line in PINS if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    names = [canonicalize_name(Requirement(line).name) for line in PINS]
    assert len(names) == len(set(names))
    assert PINS[0].startswith("torch==")


def test_every_direct_pin_has_a_reason():
    direct = (io.ROOT / "requirements.txt").read_text().split("\n# Held")[0].splitlines()[1:]
    assert [line for line in direct if line and not re.search(r"# \w", line)] == []


def test_environment_yml_only_reads_the_list():
    environment = yaml.safe_load((io.ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == [f"python={TESTED}", "pip", {"pip": ["-r requirements.txt"]}]
    assert set(environment) == {"name", "channels", "dependencies"}


def test_installed_versions_are_the_direct_pins():
    pins = notebook.direct_pins()
    assert len(pins) > 25
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in pins}
    assert installed == pins


def test_every_file_names_the_python_that_is_tested():
    for name, text in (("Makefile", f"python{TESTED}\n"), ("Makefile", f"wanted Python {TESTED}:"), ("README.md", f"With Python {TESTED},"),
                       ("requirements.txt", f"Python {TESTED}."), ("environment.yml", f"python={TESTED}\n")):  # fmt: skip
        assert text in (io.ROOT / name).read_text(encoding="utf-8"), name
    assert sys.version_info[:2] == WANTED


@pytest.mark.parametrize("module", ["lib.check", "lib.dna.new", "lib.run.notebook", "lib.publish.gate", "lib.sae.exchange"])
def test_another_python_is_refused_in_one_sentence(module):
    code = f"import sys; sys.version_info = (3, 13, 1, 'final', 0); import {module}"
    done = subprocess.run([sys.executable, "-c", code], cwd=io.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(REFUSED + r"\n", done.stderr) and not done.stdout


@pytest.mark.parametrize("version, said", [("3, 13, 1", REFUSED), ("3, 11, 2", "made no environment")])
def test_make_refuses_another_python_before_it_makes_an_environment(tmp_path, version, said):
    fake = tmp_path / "python"
    code = f"import runpy, sys; sys.version_info = ({version}, 'final', 0); runpy.run_path('lib/__init__.py')"
    fake.write_text(f"""#!/bin/sh
case "$*" in
  "-c pass") exit 0;;
  lib/__init__.py) exec {sys.executable} -c "{code}";;
  *) echo "made no environment" >&2; exit 1;;
esac
""")
    fake.chmod(0o755)
    done = subprocess.run(
        ["make", "env", f"VENV={tmp_path}/new", f"PYTHON={fake}"], cwd=io.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.match(said, done.stderr.splitlines()[0]) and not (tmp_path / "new").exists()


def test_make_says_where_there_is_no_python(tmp_path):
    done = subprocess.run(
        ["make", "env", f"VENV={tmp_path}/new", f"PYTHON={tmp_path}/none"], cwd=io.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"found no {tmp_path}/none, wanted Python {TESTED}: install it, or give PYTHON=, where it is"
