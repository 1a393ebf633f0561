"""Who was what, and when: one row for each node, and one for the terms."""

import datetime
from collections.abc import Iterator

import msgspec

from client.report.scale import Scale, Tick
from client.verify.facts import Life, NodeLog, Run
from client.verify.node_events import (
    BecameCandidate,
    BecameFollower,
    BecameLeader,
    BecamePreCandidate,
    FaultCleared,
    FaultInjected,
    LogTruncated,
    NodeLine,
    NodeStarted,
    NodeStopped,
    SnapshotInstalled,
    SnapshotTaken,
    SteppedDown,
    StorageRepaired,
)

WIDTH, LEFT, RIGHT = 1080, 104, 16  # pixels of the drawing, and what its rows leave free at the sides
ROW, TOP = 44, 40  # pixels: height of a row, and of the row of terms above them
BAR = 20  # pixels: height of a bar in its row
LETTER = 7  # pixels: about the width of a letter
LABEL_WIDTH_MIN = 62  # pixels a bar needs to hold its text

ROLES: dict[type[NodeLine], str] = {
    BecameFollower: "follower",
    SteppedDown: "follower",
    BecamePreCandidate: "candidate",
    BecameCandidate: "candidate",
    BecameLeader: "leader",
    NodeStarted: "follower",
    NodeStopped: "down",
}


class Bar(msgspec.Struct, frozen=True):
    """A stretch of time in one role; `title` is shown when it is pointed at."""

    x: float
    width: float
    role: str
    label: str
    title: str


class Mark(msgspec.Struct, frozen=True):
    """Something that happened at one moment; `kind` is a shape of the legend."""

    x: float
    kind: str
    title: str


class Row(msgspec.Struct, frozen=True):
    """A node's part of the drawing; `y` is the upper edge of its bars."""

    node: str
    y: float
    bars: list[Bar]
    marks: list[Mark]


class Reign(msgspec.Struct, frozen=True):
    """A term that had a leader, on the row of terms."""

    x: float
    width: float
    label: str
    title: str


class Timeline(msgspec.Struct, frozen=True):
    """The whole drawing, in pixels; empty `rows` where no node wrote anything."""

    width: float
    height: float
    rows: list[Row]
    reigns: list[Reign]
    ticks: list[Tick]
    start: str


class Stretch(msgspec.Struct):
    """From `begin` to `end` (seconds since the epoch) a node had a role in a term."""

    begin: float
    end: float
    role: str
    term: int


def draw_timeline(run: Run) -> Timeline:
    """Place everything; all nodes share one axis, from the first line of any to the last."""
    moments = [seconds(line) for life in run.lives for line in life.lines]
    if not moments:
        return Timeline(WIDTH, 0, [], [], [], "")
    begin, end = min(moments), max(max(moments), min(moments) + 0.001)
    scale = Scale(0, end - begin, LEFT, WIDTH - RIGHT)
    rows = [_row(log, TOP + number * ROW, scale, begin, end) for number, log in enumerate(run.logs)]
    start = datetime.datetime.fromtimestamp(begin, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    height = TOP + len(run.logs) * ROW + 28
    return Timeline(WIDTH, height, rows, _reigns(run, scale, begin, end), scale.ticks(8, " s"), start)


def seconds(line: NodeLine) -> float:
    """When the line was written, in seconds since the epoch; 0 where its `ts` is no time."""
    try:
        return datetime.datetime.fromisoformat(line.ts).timestamp()
    except ValueError:
        return 0.0


def _row(log: NodeLog, y: float, scale: Scale, begin: float, end: float) -> Row:
    bars = [_bar(log.node, stretch, scale, begin) for stretch in _stretches(log, end)]
    marks = [mark for life in log.lives for mark in _marks(life, scale, begin)]
    marks += [_killed(life, scale, begin) for life in log.lives[:-1] if not isinstance(life.lines[-1], NodeStopped)]
    return Row(log.node, y, bars, marks)


def _stretches(log: NodeLog, end: float) -> Iterator[Stretch]:
    """The node's roles in order; where a life ends without a last line, the node was killed about then."""
    for number, life in enumerate(log.lives):
        is_last = number == len(log.lives) - 1
        stopped = bool(life.lines) and isinstance(life.lines[-1], NodeStopped)
        until = end if is_last and not stopped else seconds(life.lines[-1])
        yield from _roles(life, until)
        gone_until = end if is_last else seconds(log.lives[number + 1].lines[0])
        if gone_until > until:
            yield Stretch(until, gone_until, "down", 0)


def _roles(life: Life, until: float) -> Iterator[Stretch]:
    now = Stretch(seconds(life.lines[0]), 0, "follower", life.lines[0].term)
    for line in life.lines:
        role = ROLES.get(type(line))
        if role is None or (role, line.term) == (now.role, now.term):
            continue
        now.end = seconds(line)
        yield now
        now = Stretch(seconds(line), 0, role, line.term)
    if now.role != "down":
        now.end = until
        yield now


def _bar(node: str, stretch: Stretch, scale: Scale, begin: float) -> Bar:
    x = scale.at(stretch.begin - begin)
    width = max(1.5, scale.at(stretch.end - begin) - x)
    what = "down" if stretch.role == "down" else f"{stretch.role}, term {stretch.term}"
    short = "down" if stretch.role == "down" else f"term {stretch.term}"
    label = what if width >= 2 * LABEL_WIDTH_MIN else short if width >= LABEL_WIDTH_MIN else ""
    span = f"{stretch.begin - begin:.3f} s to {stretch.end - begin:.3f} s"
    return Bar(x, round(width, 2), stretch.role, label, f"{node}: {what}, {span}")


def _marks(life: Life, scale: Scale, begin: float) -> Iterator[Mark]:
    for line in life.lines:
        told = _tell(line)
        if told:
            kind, text = told
            at = seconds(line) - begin
            yield Mark(scale.at(at), kind, f"{life.node}, {at:.3f} s: {text}")


def _killed(life: Life, scale: Scale, begin: float) -> Mark:
    """A life that was followed by another and has no last word."""
    at = seconds(life.lines[-1]) - begin
    return Mark(scale.at(at), "killed", f"{life.node}, {at:.3f} s: the last line before it was killed")


def _tell(line: NodeLine) -> tuple[str, str] | None:
    """The kind of mark and its text, for the lines that get one."""
    match line:
        case NodeStarted():
            return "start", f"started, version {line.version}, log up to {line.last_log_index}"
        case NodeStopped():
            return "stop", f"stopped: {line.reason}"
        case BecameLeader():
            return "election", f"elected leader of term {line.term} by {', '.join(line.votes)}"
        case FaultInjected():
            return "fault", f"fault injected: {line.kind} towards {', '.join(line.peers) or 'everyone'}"
        case FaultCleared():
            return "fault", "faults cleared"
        case SnapshotTaken():
            return "snapshot", f"snapshot taken at {line.index}"
        case SnapshotInstalled():
            return "snapshot", f"snapshot installed at {line.index}"
        case LogTruncated():
            return "cut", f"log cut from {line.first_index} to {line.last_index}, committed {line.commit_index}"
        case StorageRepaired():
            return "cut", f"{line.file} repaired: {line.reason}"
    return None


def _reigns(run: Run, scale: Scale, begin: float, end: float) -> list[Reign]:
    """From each election to the next, whoever won it."""
    elections = sorted(run.of(BecameLeader), key=seconds)
    ends = [*(seconds(line) for line in elections[1:]), end]
    reigns = []
    for line, until in zip(elections, ends, strict=False):
        x = scale.at(seconds(line) - begin)
        width = max(6.0, scale.at(until - begin) - x)
        title = f"term {line.term}: {line.node} leads from {seconds(line) - begin:.3f} s"
        texts = (f"term {line.term}: {line.node}", f"term {line.term}", f"{line.term}", "")
        label = next(text for text in texts if width > LETTER * len(text) + 5)
        reigns.append(Reign(x, round(width, 2), label, title))
    return reigns
