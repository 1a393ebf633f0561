"""Commands that look at and change the membership (§6)."""

import click
import msgspec

from raft_zmq.cli.context import Control, OrderedGroup, json_option, pass_control
from raft_zmq.cli.tables import member_kinds, members_table
from raft_zmq.settings import parse_members

_MEMBER = "ID=HOST:PEER_PORT:CLIENT_PORT"


@click.group(cls=OrderedGroup, invoke_without_command=True)
@json_option
@click.pass_context
def members(context: click.Context) -> None:
    """List the members, or change them.

    A change is one step through the log, however many servers it names, and returns when the new configuration is
    committed.
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@members.command("list")
@json_option
@pass_control
def show(control: Control) -> None:
    """List the members as the leader sees them."""
    status = control.client().status()
    peers = {peer.node_id: msgspec.structs.asdict(peer) for peer in status.peers}
    control.show(
        [
            {
                "node_id": node_id,
                "kind": kind,
                "address": status.client_addresses.get(node_id, ""),
                "peer": peers.get(node_id),
            }
            for node_id, kind in member_kinds(status).items()
        ],
        members_table(status),
    )


@members.command()
@click.argument("servers", nargs=-1, required=True, metavar=f"{_MEMBER}...")
@click.option("--learner", is_flag=True, help="Leave them learners: do not make them voters once they have caught up.")
@pass_control
def add(control: Control, servers: tuple[str, ...], learner: bool) -> None:
    """Add servers, as learners.

    They must have been started with --join. Each becomes a voter on its own once it has caught up.
    """
    new = parse_members(",".join(servers))
    new = tuple(msgspec.structs.replace(member, auto_promote=not learner) for member in new)
    control.client().change_members(add=new)
    click.echo(f"added {', '.join(member.node_id for member in new)}")


@members.command()
@click.argument("nodes", nargs=-1, required=True, metavar="ID...")
@pass_control
def promote(control: Control, nodes: tuple[str, ...]) -> None:
    """Make learners voters now.

    Refused for one that lags.
    """
    control.client().change_members(promote=nodes)
    click.echo(f"promoted {', '.join(nodes)}")


@members.command()
@click.argument("nodes", nargs=-1, required=True, metavar="ID...")
@pass_control
def remove(control: Control, nodes: tuple[str, ...]) -> None:
    """Remove servers.

    A leader that is removed leads until the change is committed.
    """
    control.client().change_members(remove=nodes)
    click.echo(f"removed {', '.join(nodes)}")


@members.command()
@click.option("--add", "added", multiple=True, metavar=_MEMBER, help="Add this server as a learner; may be repeated.")
@click.option("--promote", "promoted", multiple=True, metavar="ID", help="Make this learner a voter; may be repeated.")
@click.option("--remove", "removed", multiple=True, metavar="ID", help="Remove this server; may be repeated.")
@pass_control
def change(control: Control, added: tuple[str, ...], promoted: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Add, promote and remove several servers in one step."""
    if not (added or promoted or removed):
        raise click.UsageError("members change: expected at least one of --add, --promote and --remove, found none.")
    control.client().change_members(parse_members(",".join(added)), promoted, removed)
    click.echo("changed")
