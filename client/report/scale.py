"""A straight axis: from values to places on the page, with round numbers on it."""

import math
from typing import NamedTuple


class Tick(NamedTuple):
    """A labelled place on an axis."""

    place: float
    label: str


class Scale(NamedTuple):
    """Maps `low` to `begin` and `high` to `end`."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Where the value stands, in pixels."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.0
        return round(self.begin + share * (self.end - self.begin), 2)

    def ticks(self, wanted: int, unit: str = "") -> list[Tick]:
        """About `wanted` places at round values."""
        step = round_step((self.high - self.low) / max(1, wanted))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [Tick(self.at(number * step), f"{number * step:.10g}{unit}") for number in range(first, last + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
