"""How much the clients did, and how long it took them."""

import math
from collections.abc import Sequence

import msgspec

from client.linearizability import Operation
from client.report.scale import Scale, Tick, round_step

WIDTH, HEIGHT = 1080, 190  # pixels of the drawing
LEFT, RIGHT, TOP, BOTTOM = 104, 16, 14, 30  # pixels around its plot
BINS = 90
DOTS_WIDTH = 300  # pixels of the latency axis


class Latency(msgspec.Struct, frozen=True):
    """One kind of operation; `p50_x` and `p99_x` are places on the shared axis of latencies."""

    op: str
    ok: int
    failed: int
    unknown: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    p50_x: float
    p99_x: float


class Throughput(msgspec.Struct, frozen=True):
    """Answered operations a second over time, as a line and the area below it; `bin_s` is one step of it."""

    width: float
    height: float
    line: str
    area: str
    base: float
    right: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bin_s: float
    mean_per_s: float


class Load(msgspec.Struct, frozen=True):
    """Everything the page says of the history; `throughput` is None where too little was answered."""

    operations: int
    clients: int
    keys: int
    seconds: float
    latencies: list[Latency]
    latency_ticks: list[Tick]
    throughput: Throughput | None


def summarise(operations: Sequence[Operation]) -> Load:
    """The figures of a history."""
    answered = [one for one in operations if one.result == "ok" and one.return_ is not None]
    times_ms = sorted(_ms(one) for one in answered)
    scale = _latency_scale(times_ms)
    kinds = sorted({one.op for one in operations})
    begin = min((one.call for one in operations), default=0)
    end = max((one.return_ or one.call for one in operations), default=0)
    return Load(
        operations=len(operations),
        clients=len({one.client for one in operations}),
        keys=len({one.key for one in operations}),
        seconds=(end - begin) / 1e9,
        latencies=[_latency(kind, [one for one in operations if one.op == kind], scale) for kind in kinds],
        latency_ticks=_decades(scale),
        throughput=_throughput(answered, begin, end) if len(answered) > 1 and end > begin else None,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values do not exceed (nearest rank); 0 of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _ms(operation: Operation) -> float:
    return ((operation.return_ or operation.call) - operation.call) / 1e6


def _latency(op: str, operations: Sequence[Operation], scale: Scale) -> Latency:
    times = sorted(_ms(one) for one in operations if one.result == "ok")
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return Latency(
        op=op,
        ok=len(times),
        failed=sum(one.result == "fail" for one in operations),
        unknown=sum(one.result == "unknown" for one in operations),
        p50_ms=p50,
        p99_ms=p99,
        max_ms=max(times, default=0.0),
        p50_x=scale.at(math.log10(max(p50, 1e-3))),
        p99_x=scale.at(math.log10(max(p99, 1e-3))),
    )


def _latency_scale(times_ms: Sequence[float]) -> Scale:
    """Powers of ten in milliseconds, so that a fast and a slow operation both can be read."""
    least, most = (max(times_ms[0], 1e-3), max(times_ms[-1], 1e-3)) if times_ms else (1.0, 10.0)
    low = math.floor(math.log10(least))
    return Scale(low, max(low + 1, math.ceil(math.log10(most))), 24, DOTS_WIDTH - 24)


def _decades(scale: Scale) -> list[Tick]:
    return [Tick(scale.at(power), _duration(10.0**power)) for power in range(int(scale.low), int(scale.high) + 1)]


def _duration(milliseconds: float) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds:g} ms"


def _throughput(answered: Sequence[Operation], begin: int, end: int) -> Throughput:
    total_s = (end - begin) / 1e9
    bin_s = round_step(total_s / BINS)
    counts = [0] * (math.floor(total_s / bin_s) + 1)
    for one in answered:
        counts[int(((one.return_ or begin) - begin) / 1e9 / bin_s)] += 1
    x = Scale(0, len(counts) * bin_s, LEFT, WIDTH - RIGHT)
    y = Scale(0, max(counts) / bin_s * 1.08, HEIGHT - BOTTOM, TOP)
    line = " ".join(f"{x.at((number + 0.5) * bin_s)},{y.at(count / bin_s)}" for number, count in enumerate(counts))
    first, last, base = x.at(0.5 * bin_s), x.at((len(counts) - 0.5) * bin_s), y.at(0)
    return Throughput(
        width=WIDTH,
        height=HEIGHT,
        line=line,
        area=f"{first},{base} {line} {last},{base}",
        base=base,
        right=WIDTH - RIGHT,
        x_ticks=x.ticks(8, " s"),
        y_ticks=y.ticks(4),
        bin_s=bin_s,
        mean_per_s=len(answered) / total_s,
    )
