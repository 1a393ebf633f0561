"""The machine that is measured on: what it is, what runs on it, and what its processes use."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import zmq

from tests.performance.waiting import rest

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Usage(msgspec.Struct, frozen=True):
    """What a process has used so far, and holds now."""

    cpu_s: float
    resident_bytes: int


def describe() -> dict[str, Any]:
    """Cores, memory, kernel and processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gib": round(memory_bytes / 2**30, 1),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Of what takes part, etcd left out: that is known once it runs."""
    return {
        "raft-zmq": version("raft-zmq"),
        "Python": f"{platform.python_version()} (built {platform.python_build()[1]}, {platform.python_compiler()})",
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "msgspec": msgspec.__version__,
    }


def code(checkout: Path) -> str:
    """The commit that is measured, with "+" behind it where files differ from it; "" outside a checkout.

    Documents do not count: each run writes some, and none of them runs.
    """
    commit = _git(checkout, "rev-parse", "--short=7", "HEAD")
    changed = _git(checkout, "status", "--porcelain", "--", ":/", ":(top,exclude)docs")
    return f"{commit}+" if changed else commit


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def load_1m() -> float:
    """The system's load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def calm_down(load_max: float = 0.9, patience_s: float = 180.0) -> None:
    """Wait until the load average says that nothing has run lately, or for as long as patience lasts."""
    deadline_s = time.monotonic() + patience_s
    while load_1m() > load_max and time.monotonic() < deadline_s:
        rest(1.0)


def busy_s() -> tuple[float, float]:
    """CPU seconds of the whole machine so far: those in use (stolen ones too), and all."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = values[3] + values[4]
    return (sum(values) - idle) / _TICKS_PER_S, sum(values) / _TICKS_PER_S


def busy_share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """The share of the machine that was in use between two looks."""
    return round((after[0] - before[0]) / max(1e-9, after[1] - before[1]), 3)


def others_busy(seconds: float = 1.0) -> float:
    """The share of the machine that others use while this program does nothing."""
    before = busy_s()
    rest(seconds)
    return busy_share(before, busy_s())


def usage(pid: int) -> Usage:
    """What that process uses, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_ticks = int(fields[11]) + int(fields[12])
    return Usage(cpu_ticks / _TICKS_PER_S, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


def command_line() -> str:
    """How this run was started."""
    return " ".join(["python", "-m", "tests.performance", *sys.argv[1:]])
