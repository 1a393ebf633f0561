"""What is measured, and how it is kept: figures with their targets, by row, in one JSON file for each run."""

from pathlib import Path
from typing import Any

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One number of the table; without `at_least` and `at_most` it is only stated."""

    what: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.at_least is None and self.at_most is None:
            return None
        return not (
            (self.at_least is not None and self.value < self.at_least)
            or (self.at_most is not None and self.value > self.at_most)
        )

    @property
    def target(self) -> str:
        """The target in words, "" without one."""
        if self.at_least is not None:
            return f"≥ {number(self.at_least)}"
        return "" if self.at_most is None else f"≤ {number(self.at_most)}"


class Measured(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one row found: figures for the table, and `raw`, all that they were made of."""

    figures: list[Figure]
    raw: dict[str, Any] = {}
    commands: list[str] = []
    doubts: list[str] = []  # what the harness beside etcd found implausible


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One row of a run; `trouble` says why it could not be measured."""

    begun: str
    seconds: float
    load_1m_before: float
    others_busy_before: float
    measured: Measured | None = None
    trouble: str = ""


class Results(msgspec.Struct, kw_only=True):
    """One run, as it is kept."""

    date: str
    quick: bool
    command: str
    machine: dict[str, Any]
    versions: dict[str, str]
    code: str = ""  # the commit, with "+" where files differed from it; "" in runs from before it was kept
    rows: dict[str, Row] = {}


def write(results: Results, folder: Path) -> Path:
    """Keep the run under its date; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results.date.replace(':', '').removesuffix('+0000')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return path


def read_all(folder: Path) -> list[Results]:
    """The runs kept in a folder, oldest first."""
    runs = [msgspec.json.decode(path.read_bytes(), type=Results) for path in folder.glob("*.json")]
    return sorted(runs, key=lambda run: run.date)


def number(value: float) -> str:
    """A number with the digits that mean something."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
