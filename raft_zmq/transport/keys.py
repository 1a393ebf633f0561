"""CURVE keys: who may speak to a node, in which role, and where the keys lie.

One flat folder, as `raftctl keys generate` writes it and a Kubernetes Secret mounts it; every key is Z85 text:

    service.secret, service.public            the client port, the same on every node
    peer.<node id>.secret, .public            one node towards the others, on both ends of a connection
    client.<name>.secret, .public             one client
    clients.yaml                              name: {public_key, role}, for every client that is let in

A node needs the service pair, its own peer pair, the public key of every other node, and clients.yaml. While keys are
being exchanged there are more files (key_files.py), and `also_accepted` keys in clients.yaml.
"""

import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport import key_files
from raft_zmq.transport.key_files import NEXT, OLD, KeyPair

# A node reads this file while it runs: libyaml, where PyYAML has it, takes a tenth of the time.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Owner = TypeVar("_Owner")

__all__ = ["KeyPair"]  # it is part of what this module gives
CLIENTS_FILE = "clients.yaml"


class Role(enum.StrEnum):
    """What a client may ask for: reads; writes too; or membership, transfer, snapshots and faults as well."""

    READ_ONLY = "read-only"
    READ_WRITE = "read-write"
    ADMIN = "admin"


class ClientUser(msgspec.Struct, frozen=True):
    """A client that was let in."""

    name: str
    role: Role


ANONYMOUS = ClientUser("anonymous", Role.ADMIN)  # everyone, where auth is "none"


class ClientKeys(msgspec.Struct, frozen=True):
    """What a client needs to reach any node; the others are tried when a node does not answer to the first key."""

    server_public: bytes
    own: KeyPair
    other_server_publics: tuple[bytes, ...] = ()


class NodeKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a node needs: its two pairs, and who owns which public key.

    Several keys may belong to one owner (while keys are being exchanged); a key that is not listed is not let in.
    """

    service: KeyPair
    own: KeyPair
    peer_keys: Mapping[str, tuple[bytes, ...]]  # node id → keys its peer port may answer with, the likeliest first
    peer_owners: Mapping[str, str]  # public key as text → node id
    client_owners: Mapping[str, ClientUser]  # public key as text → client

    @property
    def peers(self) -> dict[str, bytes]:
        """Node id → the key that its peer port should answer with."""
        return {node_id: keys[0] for node_id, keys in self.peer_keys.items()}


class KeyRing:
    """The node's keys as they count right now. Setting `current` anew tells on the next handshake and message."""

    def __init__(self, keys: NodeKeys) -> None:
        self.current = keys

    def node_of(self, key: str) -> str | None:
        """The node that owns the public key."""
        return self.current.peer_owners.get(key)

    def client_of(self, key: str) -> ClientUser | None:
        """The client that owns the public key."""
        return self.current.client_owners.get(key)


class ClientRecord(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One line of clients.yaml; keys in `also_accepted` are let in while the client changes its key."""

    public_key: str
    role: Role
    also_accepted: list[str] = []


def generate(
    folder: Path, node_ids: Iterable[str], clients: Mapping[str, Role], *, overwrite: bool = False
) -> list[Path]:
    """Write a complete set of new keys and return its files.

    Raises SettingsError, with nothing written, when a name cannot be part of a file name or a file is there already
    and `overwrite` was not asked for.
    """
    checked = key_files.checked_name
    owners = ["service", *(f"peer.{checked(name)}" for name in node_ids), *(f"client.{checked(n)}" for n in clients)]
    pairs = {owner: key_files.new_pair() for owner in owners}
    records = {n: {"public_key": pairs[f"client.{n}"].public.decode(), "role": str(r)} for n, r in clients.items()}
    contents = {CLIENTS_FILE: yaml.safe_dump(records).encode()}
    for owner, pair in pairs.items():
        contents[f"{owner}.secret"] = pair.secret + b"\n"
        contents[f"{owner}.public"] = pair.public + b"\n"
    if not overwrite:
        _check_absent(folder, contents)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return [key_files.write(folder / name, content) for name, content in contents.items()]
    except OSError as error:
        raise SettingsError(
            f"keys folder {folder}: expected a writable folder, found: {error.strerror}. Choose another one."
        ) from error


def load_node_keys(folder: Path, node_id: str, own_folder: Path | None = None) -> NodeKeys:
    """Read and check what the node needs; raises SettingsError naming the one file that is wrong.

    `own_folder` is where the node's own secret lies, if not in `folder`.
    """
    try:
        return _read_node_keys(folder, node_id, own_folder)
    except OSError as error:  # of a folder that lets nobody look for files, say, or of a mount that is gone
        raise SettingsError(f"{folder}: expected a folder of keys to read, found: {error}. Mend its access.") from error


def _read_node_keys(folder: Path, node_id: str, own_folder: Path | None) -> NodeKeys:
    peer_keys = {name: key_files.public_keys(folder, f"peer.{name}") for name in peer_names(folder)}
    peer_owners = _owners(folder, ((key.decode(), peer) for peer, keys in peer_keys.items() for key in keys))
    client_owners = _client_owners(folder)
    services = ((key.decode(), "the service") for key in key_files.public_keys(folder, "service"))
    clients = ((key, f"the client {user.name}") for key, user in client_owners.items())
    _owners(folder, (*peer_owners.items(), *clients, *services))  # the ports tell who may come in by the key alone
    return NodeKeys(
        service=key_files.read_pair(folder, "service"),
        own=key_files.read_pair(folder, f"peer.{node_id}", own_folder),
        peer_keys=peer_keys,
        peer_owners=peer_owners,
        client_owners=client_owners,
    )


def peer_names(folder: Path) -> list[str]:
    """The nodes that have a public key in the folder."""
    stems = (path.name.removeprefix("peer.").removesuffix(".public") for path in folder.glob("peer.*.public"))
    return sorted({stem.removesuffix(NEXT).removesuffix(OLD) for stem in stems})


def load_client_keys(folder: Path, name: str) -> ClientKeys:
    """Read and check what the client of that name needs; raises SettingsError naming the one file that is wrong."""
    own = key_files.read_pair(folder, f"client.{name}")
    server_public = key_files.read_key(folder / "service.public")
    return ClientKeys(server_public, own, key_files.public_keys(folder, "service")[1:])


def client_keys(server_public: str, public: str, secret: str, next_server_public: str = "") -> ClientKeys:
    """The keys of a client's settings file; raises SettingsError naming the setting that is wrong."""
    checked = key_files.checked_key
    others = (checked("next_server_public_key", next_server_public),) if next_server_public else ()
    return ClientKeys(
        checked("server_public_key", server_public),
        key_files.checked_pair(
            "client_secret_key", KeyPair(checked("client_public_key", public), checked("client_secret_key", secret))
        ),
        others,
    )


def read_clients(folder: Path) -> dict[str, ClientRecord]:
    """What clients.yaml says; raises SettingsError when it cannot be read."""
    path = folder / CLIENTS_FILE
    try:
        content = yaml.load(key_files.read_text(path), Loader=_SafeLoader)  # noqa: S506  # both build plain values only
        return msgspec.convert(content or {}, dict[str, ClientRecord])
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError, ValueError) as error:
        found = " ".join(str(error).split())
        raise SettingsError(
            f"{path}: expected `name: {{public_key: …, role: admin|read-write|read-only}}` for each client, "
            f"found: {found}. Mend it or make new keys with `raftctl keys generate`."
        ) from error


def _client_owners(folder: Path) -> dict[str, ClientUser]:
    return _owners(
        folder,
        (
            (
                key_files.checked_key(f"{folder / CLIENTS_FILE}: public_key of {name}", key).decode(),
                ClientUser(name, record.role),
            )
            for name, record in read_clients(folder).items()
            for key in (record.public_key, *record.also_accepted)
        ),
    )


def _owners(folder: Path, pairs: Iterable[tuple[str, _Owner]]) -> dict[str, _Owner]:
    """Index owners by key; a key with two owners would let one speak as the other."""
    owners: dict[str, _Owner] = {}
    for key, owner in pairs:
        if owners.setdefault(key, owner) != owner:
            raise SettingsError(
                f"{folder}: expected every public key once, found the same key for {owners[key]} and {owner}. "
                "Make a pair for each with `raftctl keys generate`."
            )
    return owners


def _check_absent(folder: Path, names: Iterable[str]) -> None:
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise SettingsError(
            f"keys folder {folder}: expected none of the new files, found {', '.join(there)}. "
            "Choose another folder, or say --overwrite to lose the old keys."
        )
