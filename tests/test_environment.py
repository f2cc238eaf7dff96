"""One list of pins, and this environment is what it says."""

import importlib.metadata
import re

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.run import notebook
from lib.stage import io

LINES = [re.split(r"\s*#", line)[0].strip() for line in (io.ROOT / "requirements.txt").read_text().splitlines()]
PINS = [line for line in LINES if line]


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
    assert environment["dependencies"] == ["python=3.11", "pip", {"pip": ["-r requirements.txt"]}]
    assert set(environment) == {"name", "channels", "dependencies"}


def test_installed_versions_are_the_direct_pins():
    pins = notebook.direct_pins()
    assert len(pins) > 25
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in pins}
    assert installed == pins
