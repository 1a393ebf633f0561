"""Commands for the CURVE keys of a cluster."""

import itertools
import threading
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from raft_zmq.cli import kubernetes_secret
from raft_zmq.cli.context import Control, OrderedGroup, json_option, pass_control
from raft_zmq.client.command_line import FiniteRange
from raft_zmq.core.errors import SettingsError
from raft_zmq.transport import key_rotation
from raft_zmq.transport.key_rotation import Step
from raft_zmq.transport.keys import Role, generate

_NEXT_WORDS = {
    Step.PREPARE: "made the next key; once every node has seen the folder{clients}, take the step `switch`",
    Step.SWITCH: "the next key is the one in use; once everyone uses it, take the step `finish`",
    Step.FINISH: "the old key is forgotten",
}
_folder_option = click.option(
    "--dir",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The folder of keys.",
)


@click.group(cls=OrderedGroup)
def keys() -> None:
    """Make, exchange and take back the keys that nodes and clients know each other by.

    Running nodes look at their keys folder once a second and take what has changed.
    """


def _roles(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Role]:
    """NAME=ROLE, repeated, as a mapping."""
    roles: dict[str, Role] = {}
    for text in values:
        name, _, role = text.partition("=")
        if not name or role not in set(Role):
            raise click.BadParameter(f"expected NAME={'|'.join(Role)}, found {text!r}.", context, parameter)
        if name in roles:
            raise click.BadParameter(f"expected each name once, found {name!r} twice.", context, parameter)
        roles[name] = Role(role)
    return roles


def _labels(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, repeated, as a mapping; what may be in them the API server says."""
    labels = dict(text.partition("=")[::2] for text in values)
    for name, value in labels.items():
        if not name or not value:
            raise click.BadParameter(f"expected NAME=VALUE, found {name + '=' + value!r}.", context, parameter)
    return labels


@keys.command("generate")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write the keys to this folder."
)
@click.option(
    "--kubernetes-secret",
    "secret",
    metavar="NAME",
    help="Inside a pod: make this Secret in the pod's namespace. One that is there already stays as it is.",
)
@click.option(
    "--label", "labels", multiple=True, callback=_labels, metavar="NAME=VALUE", help="A label of that Secret."
)
@click.option("--nodes", required=True, metavar="ID,ID,…", help="The nodes that get a key, also those that come later.")
@click.option(
    "--client", "clients", multiple=True, callback=_roles, metavar="NAME=ROLE", help="A client; may be repeated."
)
@click.option("--overwrite", is_flag=True, help="Replace keys that are in the folder; nodes and clients need the new.")
def generate_command(
    folder: Path | None,
    secret: str | None,
    labels: dict[str, str],
    nodes: str,
    clients: dict[str, Role],
    overwrite: bool,
) -> None:
    """Make a complete set of keys: the service's, one for each node, one for each client.

    ROLE is admin (everything), read-write or read-only. Each node needs service.*, its own peer.ID.secret, every
    peer.*.public and clients.yaml; a client needs service.public and its own pair.
    """
    if (folder is None) == (secret is None):
        raise click.UsageError("keys generate: expected one of --dir and --kubernetes-secret. Say where the keys go.")
    node_ids = [name for name in (part.strip() for part in nodes.split(",")) if name]
    if not node_ids:
        raise click.UsageError("--nodes: expected at least one node id, found none. Example: --nodes n1,n2,n3")
    if folder is not None:
        files = generate(folder, node_ids, clients, overwrite=overwrite)
        click.echo(f"wrote {len(files)} files to {folder}; the .secret ones are for their owners alone")
    elif secret is not None:
        made = kubernetes_secret.make(secret, lambda place: generate(place, node_ids, clients), labels=labels)
        click.echo(f"made the Secret {secret}" if made else f"the Secret {secret} is there already and stays as it is")


@keys.command()
@_folder_option
@click.option("--node", "nodes", multiple=True, metavar="ID", help="A node; may be repeated.")
@click.option(
    "--client", "clients", multiple=True, callback=_roles, metavar="NAME=ROLE", help="A client; may be repeated."
)
def add(folder: Path, nodes: tuple[str, ...], clients: dict[str, Role]) -> None:
    """Make keys for more nodes and clients; running nodes let them in once they have seen the folder."""
    if not nodes and not clients:
        raise click.UsageError("keys add: expected at least one of --node and --client, found none.")
    for node_id in nodes:
        key_rotation.add(folder, f"peer.{node_id}")
    for name, role in clients.items():
        key_rotation.add(folder, f"client.{name}", role)
    added = [*(f"peer.{node_id}" for node_id in nodes), *(f"client.{name}" for name in clients)]
    click.echo(f"added {', '.join(added)}")


@keys.command("list")
@_folder_option
@json_option
@pass_control
def list_command(control: Control, folder: Path) -> None:
    """List every key that the folder lets in, without the secrets.

    The state is current, next (prepared) or old (still accepted).
    """
    lines = key_rotation.listed(folder)
    table = Table("owner", "role", "state", "public key", "secret here")
    for line in lines:
        table.add_row(line.owner, line.role, line.state, escape(line.public_key), "yes" if line.secret_here else "no")
    control.show([msgspec.to_builtins(line) for line in lines], table)


@keys.command()
@_folder_option
@click.argument("owners", nargs=-1, required=True, metavar="OWNER...")
@click.option(
    "--step",
    type=click.Choice([str(step) for step in Step]),
    help="Take this step alone: the folder is copied to where it is used before the next one.",
)
@click.option(
    "--pause-s",
    type=FiniteRange(min=1.5),
    default=3.0,
    help="Without --step: how long nodes get to see the folder after each step.",
)
def rotate(folder: Path, owners: tuple[str, ...], step: str | None, pause_s: float) -> None:
    """Exchange the keys of peer.ID, client.NAME or service for new ones, without an outage.

    Old and new are both accepted from `--step prepare` to `--step finish`. Without --step all three are taken for one
    node after the other, which is right where the nodes read this very folder. Clients have to be given their new key,
    or the service's, between the steps; so those go by --step.
    """
    if step is not None:
        for owner in owners:
            _take(Step(step), folder, owner)
        return
    others = [owner for owner in owners if not owner.startswith("peer.")]
    if others:
        raise SettingsError(
            f"keys rotate: expected --step for {', '.join(others)}, found none. Clients have to take the new key "
            "between the steps prepare, switch and finish."
        )
    for pause, (owner, taken) in enumerate(itertools.product(owners, Step)):
        if pause:
            threading.Event().wait(pause_s)  # for time to pass: nodes far away give no sign that they have looked
        _take(taken, folder, owner)


@keys.command()
@_folder_option
@click.argument("owners", nargs=-1, required=True, metavar="OWNER...")
def revoke(folder: Path, owners: tuple[str, ...]) -> None:
    """Take every key of peer.ID or client.NAME off the folder; nodes that read it end their sessions at once."""
    for owner in owners:
        revoked = key_rotation.revoke(folder, owner)
        click.echo(f"{owner}: revoked {', '.join(revoked)}")


def _take(step: Step, folder: Path, owner: str) -> None:
    key_rotation.take(step, folder, owner)
    clients = "" if owner.startswith("peer.") else " and the clients have the new key"
    click.echo(f"{owner}: {_NEXT_WORDS[step].format(clients=clients)}")
