"""Commands for a cluster of real node processes on this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
import yaml

from raft_zmq import local as local_cluster
from raft_zmq.cli.context import Control, OrderedGroup, json_option, pass_control
from raft_zmq.cli.tables import new_table
from raft_zmq.client.command_line import NotSoError

_F = TypeVar("_F", bound=Callable[..., Any])


def _dir_option(command: _F) -> _F:
    return click.option(
        "--dir",
        "directory",
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the cluster: settings, keys, logs, data, client.yaml.",
    )(command)


@click.group(cls=OrderedGroup)
def local() -> None:
    """Run a cluster of real node processes on this machine."""


@local.command()
@_dir_option
@click.option("--nodes", type=click.IntRange(1, 99), help="How many nodes a new cluster has; left out, 3.")
@click.option("--names", default="", help="Their names, with commas between; left out, n1, n2, …")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting for every node; may be repeated."
)
def up(directory: Path, nodes: int | None, names: str, settings: tuple[str, ...]) -> None:
    """Start the nodes and wait for a leader.

    They listen on free loopback ports; DIR/client.yaml says where, for --config. A folder with a stopped cluster
    starts that one again, with its nodes, its data and its settings; --set adds to these.
    """
    node_ids = [name for name in names.split(",") if name]
    if node_ids and len(node_ids) != (nodes or len(node_ids)):
        raise click.UsageError(f"--names: expected {nodes} names (--nodes), found {len(node_ids)}.")
    if nodes and not node_ids:
        node_ids = local_cluster.numbered(nodes)
    cluster = local_cluster.up(directory, node_ids, dict(_parse_setting(text) for text in settings))
    running = ", ".join(node.node_id for node in cluster.nodes)
    click.echo(f"running, with a leader: {running}. Next: raftctl --config {directory / 'client.yaml'} status")


@local.command()
@_dir_option
def down(directory: Path) -> None:
    """Stop the nodes of this cluster.

    No other process is touched; data and logs stay.
    """
    stopped = local_cluster.down(directory)
    click.echo(f"stopped {', '.join(stopped)}" if stopped else "no node was running")


@local.command()
@_dir_option
@json_option
@pass_control
def status(control: Control, directory: Path) -> None:
    """Show the processes and their state.

    Exit 1 if one of them does not run.
    """
    reports = local_cluster.status(directory)
    table = new_table("node", ">pid", "role", ">term", ">applied", "ready", "clients", "http")
    for report in reports:
        found = report.status or {}
        shown = [str(found.get(name, "-")) for name in ("role", "term", "last_applied", "ready")]
        pid = str(report.pid) if report.pid else "[red]not running"
        table.add_row(report.node_id, pid, *shown, report.client_address, report.http_address)
    control.show([msgspec.structs.asdict(report) for report in reports], table)
    ended = [report.node_id for report in reports if not report.pid]
    if ended:
        raise NotSoError(f"expected every node to run, found {', '.join(ended)} not running")


@local.command()
@_dir_option
@click.argument("node")
def add(directory: Path, node: str) -> None:
    """Start one more node.

    NODE is its name; it waits until `raftctl members add` names it.
    """
    new = local_cluster.add(directory, node)
    member = f"{node}={local_cluster.HOST}:{new.peer_port}:{new.client_port}"
    click.echo(f"started. Next: raftctl --config {directory / 'client.yaml'} members add {member}")


@local.command()
@_dir_option
@click.argument("node")
def kill(directory: Path, node: str) -> None:
    """End NODE at once (SIGKILL)."""
    local_cluster.kill(directory, node)
    click.echo(f"killed {node}")


@local.command()
@_dir_option
@click.argument("node")
def start(directory: Path, node: str) -> None:
    """Start NODE again, with its data."""
    local_cluster.start(directory, node)
    click.echo(f"started {node}")


@local.command()
@_dir_option
@click.argument("node")
def stop(directory: Path, node: str) -> None:
    """Halt NODE where it stands (SIGSTOP)."""
    local_cluster.stop(directory, node)
    click.echo(f"stopped {node}; `raftctl local cont` lets it go on")


@local.command()
@_dir_option
@click.argument("node")
def cont(directory: Path, node: str) -> None:
    """Let a halted NODE go on (SIGCONT)."""
    local_cluster.cont(directory, node)
    click.echo(f"{node} goes on")


def _parse_setting(text: str) -> tuple[str, str | int | float | bool]:
    """A line of a settings file, as NAME=VALUE; the node itself checks whether it knows it."""
    name, equals, value = text.partition("=")
    try:
        parsed = yaml.safe_load(value) if equals else None
    except (yaml.YAMLError, ValueError):  # ValueError: a date that is none
        parsed = None
    if not name or not isinstance(parsed, str | int | float | bool):
        raise click.UsageError(f"--set: expected NAME=VALUE, found {text!r}. `raft-node --help` lists the settings.")
    return name.replace("-", "_"), parsed
