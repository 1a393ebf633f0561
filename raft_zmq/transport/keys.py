"""CURVE keys: who may speak to a node, in which role, and where the keys lie.

One flat folder, as `raftctl keys generate` writes it and a Kubernetes Secret mounts it; every key is Z85 text:

    service.secret, service.public            the client port, the same on every node
    peer.<node id>.secret, .public            one node towards the others, on both ends of a connection
    client.<name>.secret, .public             one client
    clients.yaml                              name: {public_key, role}, for every client that is let in

A node needs the service pair, its own peer pair, the public key of every other node, and clients.yaml.
"""

import enum
import os
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml
import zmq
from zmq.utils import z85

from raft_zmq.core.errors import SettingsError

Z85_KEY_CHARACTERS = 40

_Owner = TypeVar("_Owner")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


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


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair, each half as 40 characters of Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r}, secret=<hidden>)"


class ClientKeys(msgspec.Struct, frozen=True):
    """What a client needs to reach any node."""

    server_public: bytes
    own: KeyPair


class NodeKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a node needs: its two pairs, and who owns which public key.

    Several keys may belong to one owner (while keys are being exchanged); a key that is not listed is not let in.
    """

    service: KeyPair
    own: KeyPair
    peers: Mapping[str, bytes]  # node id → the key its peer port answers with
    peer_owners: Mapping[str, str]  # public key as text → node id
    client_owners: Mapping[str, ClientUser]  # public key as text → client


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


class _ClientRecord(msgspec.Struct, forbid_unknown_fields=True):
    """One line of clients.yaml."""

    public_key: str
    role: Role


def generate(
    folder: Path, node_ids: Iterable[str], clients: Mapping[str, Role], *, overwrite: bool = False
) -> list[Path]:
    """Write a complete set of new keys and return its files.

    Raises SettingsError, with nothing written, when a name cannot be part of a file name or a file is there already
    and `overwrite` was not asked for.
    """
    owners = ["service", *(f"peer.{_checked(name)}" for name in node_ids), *(f"client.{_checked(n)}" for n in clients)]
    pairs = {owner: _new_pair() for owner in owners}
    records = {n: {"public_key": pairs[f"client.{n}"].public.decode(), "role": str(r)} for n, r in clients.items()}
    contents = {"clients.yaml": yaml.safe_dump(records).encode()}
    for owner, pair in pairs.items():
        contents[f"{owner}.secret"] = pair.secret + b"\n"
        contents[f"{owner}.public"] = pair.public + b"\n"
    if not overwrite:
        _check_absent(folder, contents)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return [_write(folder / name, content) for name, content in contents.items()]
    except OSError as error:
        raise SettingsError(
            f"keys folder {folder}: expected a writable folder, found: {error.strerror}. Choose another one."
        ) from error


def load_node_keys(folder: Path, node_id: str) -> NodeKeys:
    """Read and check what the node needs; raises SettingsError naming the one file that is wrong."""
    peers = {
        path.name.removeprefix("peer.").removesuffix(".public"): _read_key(path)
        for path in sorted(folder.glob("peer.*.public"))
    }
    return NodeKeys(
        service=_read_pair(folder, "service"),
        own=_read_pair(folder, f"peer.{node_id}"),
        peers=peers,
        peer_owners=_owners(folder, ((key.decode(), peer) for peer, key in peers.items())),
        client_owners=_read_clients(folder),
    )


def load_client_keys(folder: Path, name: str) -> ClientKeys:
    """Read and check what the client of that name needs; raises SettingsError naming the one file that is wrong."""
    return ClientKeys(_read_key(folder / "service.public"), _read_pair(folder, f"client.{name}"))


def client_keys(server_public: str, public: str, secret: str) -> ClientKeys:
    """The three keys of a client's settings file; raises SettingsError naming the setting that is wrong."""
    return ClientKeys(
        _checked_key("server_public_key", server_public),
        _checked_pair(
            "client_secret_key",
            KeyPair(_checked_key("client_public_key", public), _checked_key("client_secret_key", secret)),
        ),
    )


def _read_clients(folder: Path) -> dict[str, ClientUser]:
    path = folder / "clients.yaml"
    try:
        content = yaml.safe_load(_read(path))
        records = msgspec.convert(content or {}, dict[str, _ClientRecord])
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        found = " ".join(str(error).split())
        raise SettingsError(
            f"{path}: expected `name: {{public_key: …, role: admin|read-write|read-only}}` for each client, "
            f"found: {found}. Mend it or make new keys with `raftctl keys generate`."
        ) from error
    return _owners(
        folder,
        (
            (_checked_key(f"{path}: public_key of {name}", record.public_key).decode(), ClientUser(name, record.role))
            for name, record in records.items()
        ),
    )


def _owners(folder: Path, pairs: Iterable[tuple[str, _Owner]]) -> dict[str, _Owner]:
    """Index owners by key; a key with two owners would let one speak as the other."""
    owners: dict[str, _Owner] = {}
    for key, owner in pairs:
        if key in owners:
            raise SettingsError(
                f"{folder}: expected every public key once, found the same key for {owners[key]} and {owner}. "
                "Make a pair for each with `raftctl keys generate`."
            )
        owners[key] = owner
    return owners


def _read_pair(folder: Path, owner: str) -> KeyPair:
    pair = KeyPair(_read_key(folder / f"{owner}.public"), _read_key(folder / f"{owner}.secret"))
    return _checked_pair(str(folder / f"{owner}.secret"), pair)


def _read_key(path: Path) -> bytes:
    return _checked_key(str(path), _read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError as error:
        raise SettingsError(
            f"{path}: expected a key file, found none. Make the keys with `raftctl keys generate`."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path}: expected a readable text file, found: {error}. Mend its access or content."
        ) from error


def _checked_key(what: str, text: str) -> bytes:
    """The key as bytes, if it is one; the error never quotes it, as it may be a secret."""
    if len(text) != Z85_KEY_CHARACTERS:
        raise SettingsError(
            f"{what}: expected {Z85_KEY_CHARACTERS} characters of Z85, found {len(text)}. Copy the whole key again."
        )
    key = text.encode("ascii", errors="replace")
    try:
        z85.decode(key)
    except (KeyError, ValueError, struct.error) as error:
        raise SettingsError(
            f"{what}: expected {Z85_KEY_CHARACTERS} characters of Z85, found others among them. Copy the key again."
        ) from error
    return key


def _checked_pair(what: str, pair: KeyPair) -> KeyPair:
    if zmq.curve_public(pair.secret) != pair.public:
        raise SettingsError(
            f"{what}: expected the secret half of the public key beside it, found that of another pair. "
            "Put both halves of one pair together, or make new keys with `raftctl keys generate`."
        )
    return pair


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"keys: expected names of letters, digits, '.', '_' and '-', found {name!r}. Choose another name."
        )
    return name


def _new_pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public, secret)


def _check_absent(folder: Path, names: Iterable[str]) -> None:
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise SettingsError(
            f"keys folder {folder}: expected none of the new files, found {', '.join(there)}. "
            "Choose another folder, or say --overwrite to lose the old keys."
        )


def _write(path: Path, content: bytes) -> Path:
    """Write aside and rename: the file never stands there half written or open to others."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    mode = 0o600 if path.suffix == ".secret" else 0o644
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    return aside.rename(path)
