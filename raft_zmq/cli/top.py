"""`raftctl top`: every node's state, live."""

import time
from collections.abc import Iterator

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from raft_zmq.cli.context import Control, console, pass_control
from raft_zmq.cli.tables import NodesTable
from raft_zmq.client.client import RaftClient
from raft_zmq.client.command_line import FiniteRange
from raft_zmq.client.survey import Surveyed
from raft_zmq.wire.client_messages import NodeStatus, StageTotal


@click.command()
@click.option("--interval-s", type=FiniteRange(0.1, 60), default=1.0, help="Time between two looks.")
@click.option("--rounds", type=click.IntRange(1), help="End after so many looks; left out, Ctrl-C ends it.")
@pass_control
def top(control: Control, interval_s: float, rounds: int | None) -> None:
    """Show the state of every node, live.

    The headline says who leads and how many entries a second are committed; below the table stands how long a batch of
    writes spent in each stage on the leader since the look before, on average.
    """
    client = control.client()
    screen = console()
    pictures = _pictures(client, interval_s, rounds)
    if not screen.is_terminal:
        for picture in pictures:
            screen.print(picture)
        return
    with Live(console=screen, auto_refresh=False, screen=rounds is None) as live:
        for picture in pictures:
            live.update(picture, refresh=True)


def _pictures(client: RaftClient, interval_s: float, rounds: int | None) -> Iterator[Group]:
    rate, stages = CommitRate(), StageMeans()
    done = 0
    while True:
        started_s = time.monotonic()
        nodes = client.survey(timeout_s=min(interval_s, 1.0))
        yield view(nodes, rate.of(nodes, started_s), stages.of(_leader(nodes)))
        done += 1
        if done == rounds:
            return
        rest_until(client, started_s + interval_s)


def rest_until(client: RaftClient, moment_s: float) -> None:
    """Wait, and take in late answers meanwhile."""
    while (left_s := moment_s - time.monotonic()) > 0:
        client.engine.turn(left_s)


class CommitRate:
    """How fast the highest commit index grows."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None

    def of(self, nodes: list[Surveyed], now_s: float) -> float | None:
        """Entries a second since the last look; None at the first one or when nobody answers."""
        commit_index = max((node.status.commit_index for node in nodes if node.status), default=None)
        before, self._last = self._last, None if commit_index is None else (now_s, commit_index)
        if before is None or commit_index is None:
            return None
        return max(0, commit_index - before[1]) / (now_s - before[0])


class StageMeans:
    """How long a leader's batches of writes took in each stage."""

    def __init__(self) -> None:
        self._last: NodeStatus | None = None

    def of(self, leader: NodeStatus | None) -> dict[str, float]:
        """Seconds by stage, the mean since the last look at this leader; {} when no batch went through since then."""
        before, self._last = self._last, leader
        if before is None or leader is None or before.incarnation != leader.incarnation:
            return {}
        if leader.uptime_s < before.uptime_s:  # started again meanwhile, and counting from 0
            return {}
        means = {}
        for stage, total in leader.stages.items():
            earlier = before.stages.get(stage, StageTotal(0, 0.0))
            if total.batches > earlier.batches:
                means[stage] = (total.seconds - earlier.seconds) / (total.batches - earlier.batches)
        return means


def view(nodes: list[Surveyed], entries_per_s: float | None, stages_s: dict[str, float]) -> Group:
    """The picture: a headline, the table, and the stages of a write."""
    answering = sum(node.status is not None for node in nodes)
    leader = _leader(nodes)
    led = f"{leader.node_id} leads term {leader.term}" if leader else "no leader"
    speed = "" if entries_per_s is None else f", {entries_per_s:,.0f} entries/s"
    headline = Text(f"{answering} of {len(nodes)} nodes answer, {led}{speed}", style="bold")
    times = ", ".join(f"{stage} {seconds * 1000:.3f}" for stage, seconds in stages_s.items())
    stages = [Text(), Text(f"a batch of writes, in ms: {times}")] if stages_s else []
    return Group(headline, Text(), NodesTable(nodes), *stages)


def _leader(nodes: list[Surveyed]) -> NodeStatus | None:
    """The status of who leads in the highest term."""
    leading = [node.status for node in nodes if node.status and node.status.role == "leader"]
    return max(leading, key=lambda status: status.term, default=None)
