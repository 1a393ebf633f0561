"""client.yaml: which cluster, where its nodes listen, and the keys to speak to them."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from raft_zmq.core.errors import SettingsError
from raft_zmq.core.membership import is_port
from raft_zmq.transport.keys import ClientKeys, client_keys, load_client_keys


class Endpoint(msgspec.Struct, frozen=True):
    """Where a node, or a service in front of several, answers clients; `node_id` is "" where the file names none."""

    node_id: str
    address: str  # host:port

    def __str__(self) -> str:
        return f"{self.node_id} ({self.address})" if self.node_id else self.address


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a client must know; `load` makes it from a file."""

    cluster_id: str
    endpoints: tuple[Endpoint, ...]
    keys: ClientKeys | None  # None where the cluster goes without (auth: none)


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of client.yaml."""

    cluster_id: Annotated[str, Meta(min_length=1, max_length=63)] = "raft"
    endpoints: Annotated[tuple[str, ...], Meta(min_length=1)]  # id=host:port, or host:port
    auth: Literal["curve", "none"] = "curve"
    server_public_key: str = ""
    next_server_public_key: str = ""  # tried too, while the service changes its key
    client_public_key: str = ""
    client_secret_key: str = ""
    keys_dir: str = ""  # instead of the three keys: a folder of `raftctl keys generate`, beside this file if relative
    client_name: str = ""  # whose keys to take from keys_dir


def load(file: Path) -> ClientConfig:
    """Read a client.yaml; raises SettingsError with one line: what was expected, what was found, what to do."""
    content = _read(file)
    try:
        fields = msgspec.convert(content, _File)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"client configuration {file}: {error}. Expected the fields cluster_id, endpoints, auth, and the three "
            "keys or keys_dir with client_name; `raftctl local up` writes such a file."
        ) from error
    try:
        endpoints = tuple(parse_endpoint(text) for text in fields.endpoints)
        return ClientConfig(cluster_id=fields.cluster_id, endpoints=endpoints, keys=_keys(fields, file.parent))
    except SettingsError as error:
        raise SettingsError(f"client configuration {file}: {error}") from error


def parse_endpoint(text: str) -> Endpoint:
    """Read "id=host:port" or "host:port"; raises SettingsError."""
    node_id, equals, address = text.rpartition("=")
    host, _, port = address.rpartition(":")
    if not host or not is_port(port) or (equals and not node_id):
        raise SettingsError(
            f"endpoints: expected id=host:port or host:port, found {text!r}. Example: n1=127.0.0.1:6000"
        )
    return Endpoint(node_id, address)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"client configuration {file}: expected readable YAML, found: {reason}. "
            "`raftctl local up --dir DIR` writes one to DIR/client.yaml."
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(
            f"client configuration {file}: expected `name: value` lines, found {type(content).__name__}. "
            "It needs at least `endpoints: [host:port]`."
        )
    return content


def _keys(fields: _File, beside: Path) -> ClientKeys | None:
    if fields.auth == "none":
        return None
    if not fields.keys_dir:
        return client_keys(
            fields.server_public_key,
            fields.client_public_key,
            fields.client_secret_key,
            fields.next_server_public_key,
        )
    if not fields.client_name:
        raise SettingsError("client_name: expected it along with keys_dir, found none. Say whose keys to use.")
    return load_client_keys(beside / fields.keys_dir, fields.client_name)
