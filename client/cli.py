"""`python -m client`: the lab's client and judge."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

from client import bench as bench_run
from client import workload as workload_run
from client.follow import Writer
from client.follow import follow as follow_history
from client.history import HistoryWriter, Result
from client.listen import Listener
from client.recorded import Metrics
from client.report.command import report
from client.scenario import Plan, Scenario
from client.story import Progress, Story
from client.verify.command import verify
from raft_zmq.client import command_line
from raft_zmq.client.client import RaftClient, open_engine
from raft_zmq.client.command_line import FiniteRange, NotSoError
from raft_zmq.client.config import ClientConfig, load, parse_endpoint
from raft_zmq.client.errors import NotDoneError
from raft_zmq.core.errors import SettingsError
from raft_zmq.transport.memory import keep_freed

_F = TypeVar("_F", bound=Callable[..., Any])


class _Ordered(click.Group):
    """Shows its commands in the order they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's shape
        """The names, in order."""
        return list(self.commands)


def _config_option(command: _F) -> _F:
    """Add --config, in front of the command or behind it."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar="CLIENT_CONFIG",
        show_envvar=True,
        help="client.yaml: where the nodes are, and the keys to speak to them.",
    )(command)


@click.group(cls=_Ordered, context_settings={"max_content_width": 120, "show_default": True})
@_config_option
@click.version_option(package_name="raft-zmq")
@click.pass_context
def client(context: click.Context, config: Path | None) -> None:
    """The lab's client and judge: try a cluster out, load it, measure it, and judge its logs.

    Exit codes: 0 done, 1 the thing asked about is not so (a step or a check that failed), 2 bad usage or configuration,
    3 no answer from the cluster in time.
    """
    context.obj = config


def _load(config: Path | None) -> ClientConfig:
    config = config or click.get_current_context().find_object(Path)
    if config is None:
        raise SettingsError(
            "--config: expected a client.yaml, found none. Give it (`python -m client --config DIR/client.yaml …`) "
            "or set CLIENT_CONFIG."
        )
    return load(config)


@client.command()
@_config_option
@click.option("--name", envvar="CLIENT_NAME", show_envvar=True, default="client", help="This client's name.")
@click.option(
    "--dns-name", envvar="CLIENT_DNS_NAME", show_envvar=True, default="localhost", help="The name others reach it by."
)
@click.option(
    "--port",
    envvar="CLIENT_PORT",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    default=0,
    help="Where it serves /livez, /progress and /metrics; 0 is any free port.",
)
@click.option(
    "--service", default="", help="host:port to ask first; left out, the first endpoint of the configuration."
)
@click.option("--history", type=click.Path(path_type=Path), help="Record every operation in this file.")
@click.option("--writes", type=click.IntRange(1, 99), default=10, help="How many keys to write first.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="For people or for programs.")
@click.option("--deadline-s", type=FiniteRange(1), default=120.0, help="The whole run ends within about this time.")
def run(
    config: Path | None,
    name: str,
    dns_name: str,
    port: int,
    service: str,
    history: Path | None,
    writes: int,
    log_format: str,
    deadline_s: float,
) -> None:
    """Run the scenario of the lab, step by step.

    It finds the leader, writes, reads back, compares and swaps, sends a request twice, asks every node for its state
    and its log, and prints what it expected and what it got. Exit 0 only if every step held; a step that nobody
    answers in time has not held, so that is 1.
    """
    loaded = _load(config)
    service = parse_endpoint(service).address if service else loaded.endpoints[0].address
    progress = Progress(name=name, url="", service=service)
    metrics = Metrics()
    with (
        HistoryWriter(history) as writer,
        Listener(port, lambda: progress, metrics.registry) as listener,
        RaftClient(loaded) as raft_client,
    ):
        progress.url = f"http://{dns_name}:{listener.port}"
        plan = Plan(service=service, tag=_new_tag(), name=name, writes=writes, deadline_s=deadline_s)
        story = Story(progress, metrics.steps, as_json=log_format == "json")
        story.header(
            {
                "listening": f"{progress.url} (/livez /progress /metrics)",
                "client": name,
                "service": service,
                "cluster": loaded.cluster_id,
                "history": str(history or "not recorded"),
                "keys": f"{plan.tag}/…",
            }
        )
        held = Scenario(raft_client, plan, story, writer, metrics).run()
    if not held:
        raise NotSoError("expected every step to hold, found some that did not; they are named above")


@client.command()
@click.argument("history", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="Where the writing client serves /livez.")
def follow(history: Path, port: int) -> None:
    """Print a history as it grows, until its writer has ended.

    Exit 1 if the writer went without saying that the history is whole; nothing is said, for the output is the history,
    and who gathers a pod's output gets both streams in one.
    """
    if not follow_history(history, Writer(port), sys.stdout.buffer.write):
        sys.stdout.buffer.flush()
        sys.exit(command_line.NOT_SO)


@client.command()
@_config_option
@click.option("--clients", type=click.IntRange(1, 1000), default=8, help="How many at once.")
@click.option("--keys", type=click.IntRange(1, 10_000), default=5, help="How many keys they share.")
@click.option("--seconds", type=FiniteRange(0, min_open=True), default=10.0, help="For how long.")
@click.option("--seed", default=None, help="Draws the same operations again; left out, new ones.")
@click.option("--history", type=click.Path(path_type=Path), required=True, help="Record every operation in this file.")
@click.option("--timeout-s", type=FiniteRange(0, min_open=True), default=5.0, help="Patience for one operation.")
def workload(
    config: Path | None, clients: int, keys: int, seconds: float, seed: str | None, history: Path, timeout_s: float
) -> None:
    """Run concurrent random operations and record their history.

    One JSON object a line. "fail" is certainly not applied; "unknown" may have been applied at any time since the call.
    Exit 3 if no operation was answered.
    """
    tag = _new_tag()
    plan = workload_run.Workload(
        tag=tag, clients=clients, keys=keys, seconds=seconds, seed=seed or tag, timeout_s=timeout_s
    )
    engine = open_engine(_load(config))
    try:
        with HistoryWriter(history) as writer:
            counts = workload_run.run(engine, plan, writer)
    finally:
        engine.close()
    _print_counts(counts)
    click.echo(f"{sum(counts.values())} operations in {history}; draw them again with --seed {plan.seed}")
    if not any(count for (_, result), count in counts.items() if result == "ok"):
        raise NotDoneError(f"workload: expected answers, found none. {engine.belief.account()}")


@client.command()
@_config_option
@click.option(
    "--clients", type=click.IntRange(1, 4096), default=16, help="How many requests are under way at any time."
)
@click.option("--size", type=click.IntRange(0, 16 << 20), default=256, help="Bytes of a value.")
@click.option("--seconds", type=FiniteRange(0, min_open=True), default=5.0, help="How long to measure.")
@click.option("--op", type=click.Choice(["write", "read", "mixed"]), default="write", help="What to do.")
@click.option("--warmup-s", type=FiniteRange(0), default=1.0, help="How long to load it before measuring.")
@click.option(
    "--connections", type=click.IntRange(1, 64), help="To the leader, shared by the clients; left out, 1 for each 128."
)
@click.option("--timeout-s", type=FiniteRange(0, min_open=True), default=10.0, help="Patience for one request.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--verbose", is_flag=True, help="Say on standard error what the client itself costs.")
def bench(
    config: Path | None,
    clients: int,
    size: int,
    seconds: float,
    op: str,
    warmup_s: float,
    connections: int | None,
    timeout_s: float,
    as_json: bool,
    verbose: bool,
) -> None:
    """Measure throughput and latency in a closed loop.

    A write counts once a majority has it on disk; reads are linearizable. Latencies are taken in the client, from
    submission to answer, of what was done. The rest is told beside them: errors by their kind, writes of unknown
    outcome, and for how long the oldest request under way at the end had waited. Exit 1 if nothing was done, 3 if
    nothing was certainly answered either.
    """
    keep_freed()
    lanes = min(connections or 1 + clients // 128, clients)
    load_plan = bench_run.Load(
        op=op, clients=clients, size=size, seconds=seconds, warmup_s=warmup_s, timeout_s=timeout_s, lanes=lanes
    )
    engine = open_engine(_load(config))
    try:
        figures, cpu_s = bench_run.run(engine, load_plan)
    finally:
        engine.close()
    if verbose and figures.ops:
        click.echo(f"client CPU: {cpu_s:.2f} s, {cpu_s / figures.ops * 1e6:.1f} µs an operation", err=True)
    if as_json:
        click.echo(json.dumps(msgspec.structs.asdict(figures)))
    else:
        _print_figures(figures)
    if not figures.answered:
        raise NotDoneError(f"bench: expected answers, found none. {engine.belief.account()}")
    if not figures.ops:
        raise NotSoError(f"bench: expected operations to succeed, found none that did: {_by_kind(figures)}")


client.add_command(verify)
client.add_command(report)


def _new_tag() -> str:
    """What tells this run from all others in the names of its clients and keys."""
    return os.urandom(3).hex()


def _print_counts(counts: Counter[tuple[str, Result]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("operation", "ok", "fail", "unknown"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    operations = sorted({op for op, _ in counts})
    for op in operations:
        table.add_row(op, *(str(counts[op, result]) for result in ("ok", "fail", "unknown")))
    totals = (sum(counts[op, result] for op in operations) for result in ("ok", "fail", "unknown"))
    table.add_row("all", *map(str, totals))
    Console(highlight=False).print(table)


def _print_figures(figures: bench_run.Figures) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in (
        ("load", f"{figures.op}, {figures.clients} clients, {figures.size} B, {figures.seconds:g} s"),
        ("operations", f"{figures.ops:,} ({figures.ops_per_s:,.0f}/s)"),
        ("latency p50", f"{figures.p50_ms:.3f} ms"),
        ("p90", f"{figures.p90_ms:.3f} ms"),
        ("p99", f"{figures.p99_ms:.3f} ms"),
        ("p99.9", f"{figures.p999_ms:.3f} ms"),
        ("max", f"{figures.max_ms:.3f} ms"),
        ("errors", _by_kind(figures)),
        ("unknown", str(figures.unknown)),
        ("oldest under way at the end", f"{figures.under_way_max_ms:.3f} ms"),
    ):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _by_kind(figures: bench_run.Figures) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in figures.errors_by_kind.items())
    return f"{figures.errors} ({kinds})" if kinds else str(figures.errors)


def main() -> None:
    """Entry point of `python -m client`."""
    command_line.run(client, "client")
