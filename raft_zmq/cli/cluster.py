"""Commands about the nodes: status, log, snapshot, transfer, fault."""

import click
import msgspec

from raft_zmq.cli.context import Control, json_option, pass_control
from raft_zmq.cli.tables import NodesTable, log_table
from raft_zmq.client.command_line import FiniteRange
from raft_zmq.client.errors import NotDoneError

FAULT_KINDS = ("drop", "delay", "duplicate", "partition", "slow_disk", "clear")

_NODE_HELP = "NODE is a node id or host:port; left out, it is the leader."


@click.command()
@json_option
@pass_control
def status(control: Control) -> None:
    """Show the state of every node.

    Exit 3 if none answers. A digest is the running hash of all entries a node has applied: nodes that have applied
    equally many must show the same one.
    """
    client = control.client()
    nodes = client.survey(timeout_s=min(control.timeout_s, 1.0))
    control.show(
        [
            {"node_id": node.node_id, "address": node.address, "status": msgspec.to_builtins(node.status)}
            for node in nodes
        ],
        NodesTable(nodes),
    )
    if all(node.status is None for node in nodes):
        raise NotDoneError(
            f"status: expected an answer from at least one node, found none: {client.engine.belief.account()}. "
            "Check that they run, and the addresses and keys in the configuration."
        )


@click.command(epilog=_NODE_HELP)
@click.argument("node", default="")
@click.option(
    "--from",
    "first_index",
    type=click.IntRange(1, 2**63 - 1),
    help="First index to show; left out, the newest entries.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="At most so many entries.")
@json_option
@pass_control
def log(control: Control, node: str, first_index: int | None, limit: int) -> None:
    """Show what the log of NODE holds.

    Two nodes agree on an entry if its term and checksum are the same on both.
    """
    client = control.client()
    address = client.address_of(node)
    if first_index is None:
        first_index = max(1, client.status(address).last_log_index - limit + 1)
    entries = client.log(address, first_index, limit)
    control.show([msgspec.structs.asdict(entry) for entry in entries], log_table(entries))


@click.command(epilog=_NODE_HELP)
@click.argument("node", default="")
@json_option
@pass_control
def snapshot(control: Control, node: str) -> None:
    """Make NODE write a snapshot now.

    Prints the index that it covers.
    """
    client = control.client()
    index = client.snapshot(client.address_of(node))
    control.show({"index": index}, f"snapshot up to index {index}")


@click.command()
@click.argument("node", default="")
@json_option
@pass_control
def transfer(control: Control, node: str) -> None:
    """Hand leadership to NODE.

    NODE is the id of a voter; left out, the leader chooses.
    """
    leader_id = control.client().transfer(node)
    control.show({"leader_id": leader_id}, f"{leader_id} leads")


@click.command()
@click.argument("node")
@click.argument("kind", type=click.Choice(FAULT_KINDS))
@click.option("--peer", "peers", multiple=True, metavar="ID", help="Towards this node only; may be repeated.")
@click.option("--share", type=FiniteRange(0, 1), default=1.0, help="Share of the messages that are hit.")
@click.option("--seconds", type=FiniteRange(0, 3600), default=0.0, help="How long a delay or a slow sync takes.")
@pass_control
def fault(control: Control, node: str, kind: str, peers: tuple[str, ...], share: float, seconds: float) -> None:
    """Make NODE misbehave on purpose.

    NODE is an id or host:port; the kind `clear` ends all faults. Only nodes with the setting fault_injection do that.
    """
    client = control.client()
    client.fault(client.address_of(node), kind, peers, share, seconds)
    click.echo("all faults cleared" if kind == "clear" else f"{kind} is on; `raftctl fault {node} clear` ends it")


COMMANDS = (status, log, snapshot, transfer, fault)
