"""What every benchmark's report says alike: the machine, peak memory, verdicts, tables. No benchmark of its own."""

import resource
import sys
import time
from pathlib import Path


def verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n")
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def progress(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
