"""Throughput against latency, ours and etcd, as a drawing: one panel for writes, one for reads."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

SIDES = ("ours", "etcd")
PANELS = (("write", "Writes, synced on a majority"), ("read", "Linearizable reads"))
WIDTH, HEIGHT = 460, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 32, 40, 52


class Point(NamedTuple):
    """One closed loop: where it stands, and what to write beside it."""

    x: float
    y: float
    clients: int


class Curve(NamedTuple):
    """One side's median or 99th percentile."""

    side: str
    kind: str
    points: list[Point]

    @property
    def path(self) -> str:
        """For an SVG polyline."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


class Axis(NamedTuple):
    """Logarithmic, from `low` to `high`, between two places on the page."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Where the value stands."""
        share = (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[tuple[float, str]]:
        """Places of 1, 2 and 5 times the powers of ten, and their labels."""
        values = (digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5))
        return [(self.at(value), _short(value)) for value in values if self.low <= value <= self.high * 1.0001]


def draw(compared: dict[str, Any]) -> str:
    """The drawing as SVG, from the JSON of `compare`."""
    cells = compared["cells"]
    rates = [cell[side]["ops_per_s"] for cell in cells for side in SIDES]
    times = [cell[side][kind] for cell in cells for side in SIDES for kind in ("p50_ms", "p99_ms")]
    across = Axis(_round_down(min(rates)), _round_up(max(rates)), LEFT, WIDTH - RIGHT)
    upwards = Axis(_round_down(min(times)), _round_up(max(times)), HEIGHT - BOTTOM, TOP)
    panels = [
        (title, [_curve(cells, op, side, kind, across, upwards) for side in SIDES for kind in ("p50_ms", "p99_ms")])
        for op, title in PANELS
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("picture.svg.j2").render(
        panels=panels,
        across=across,
        upwards=upwards,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        etcd=compared["etcd"],
    )


def _curve(cells: list[dict[str, Any]], op: str, side: str, kind: str, across: Axis, upwards: Axis) -> Curve:
    points = [
        Point(across.at(cell[side]["ops_per_s"]), upwards.at(cell[side][kind]), cell["clients"])
        for cell in cells
        if cell["op"] == op
    ]
    return Curve(side, kind.removesuffix("_ms"), points)


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(digit * power for digit in (1, 2, 5) if digit * power <= value)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return min(digit * power for digit in (1, 2, 5, 10) if digit * power >= value)
