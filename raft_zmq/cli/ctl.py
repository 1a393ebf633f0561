"""`raftctl`: look at a cluster, use it, and run it."""

from pathlib import Path

import click

from raft_zmq.cli import cluster, keys, local, members, top, values
from raft_zmq.cli.context import Control, OrderedGroup, json_option
from raft_zmq.client import command_line
from raft_zmq.client.client import DEFAULT_TIMEOUT_S
from raft_zmq.client.command_line import FiniteRange


@click.group(cls=OrderedGroup, context_settings={"max_content_width": 120, "show_default": True})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="RAFTCTL_CONFIG",
    show_envvar=True,
    help="client.yaml: where the nodes are, and the keys to speak to them.",
)
@click.option(
    "--timeout-s",
    type=FiniteRange(min=0, min_open=True),
    default=DEFAULT_TIMEOUT_S,
    help="How long to wait for an answer.",
)
@json_option
@click.version_option(package_name="raft-zmq")
@click.pass_context
def raftctl(context: click.Context, config: Path | None, timeout_s: float) -> None:
    """Look at a Raft cluster, use it, and run it.

    Exit codes: 0 done, 1 the thing asked about is not so (a failed compare, no such key), 2 bad usage or configuration,
    3 no answer from the cluster in time. After a 3, a write may or may not have happened: the message says which.
    """
    control = context.ensure_object(Control)
    control.config = config
    control.timeout_s = timeout_s


for _command in (
    cluster.status,
    top.top,
    *values.COMMANDS,
    members.members,
    cluster.transfer,
    cluster.log,
    cluster.snapshot,
    cluster.fault,
    keys.keys,
    local.local,
):
    raftctl.add_command(_command)


def main() -> None:
    """Entry point of the command."""
    command_line.run(raftctl, "raftctl")


if __name__ == "__main__":
    main()
