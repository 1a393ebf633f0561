"""Commands for the CURVE keys of a cluster."""

from pathlib import Path

import click

from raft_zmq.cli import kubernetes_secret
from raft_zmq.transport.keys import Role, generate


@click.group()
def keys() -> None:
    """Make the keys that nodes and clients know each other by."""


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
@click.option("--nodes", required=True, metavar="ID,ID,…", help="The nodes that get a key, also those that come later.")
@click.option(
    "--client", "clients", multiple=True, callback=_roles, metavar="NAME=ROLE", help="A client; may be repeated."
)
@click.option("--overwrite", is_flag=True, help="Replace keys that are in the folder; nodes and clients need the new.")
def generate_command(
    folder: Path | None, secret: str | None, nodes: str, clients: dict[str, Role], overwrite: bool
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
        made = kubernetes_secret.make(secret, lambda place: generate(place, node_ids, clients))
        click.echo(f"made the Secret {secret}" if made else f"the Secret {secret} is there already and stays as it is")
