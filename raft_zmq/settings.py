"""Every setting of a node, from flags, RAFT_* variables or a YAML file, in that order of precedence.

One name in three spellings: the field `heartbeat_interval_s` is the flag --heartbeat-interval-s, the variable
RAFT_HEARTBEAT_INTERVAL_S and the key `heartbeat_interval_s` of the file. The comment behind a field is its help text.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import yaml
from msgspec import Meta

from raft_zmq.core.config import Config
from raft_zmq.core.errors import SettingsError
from raft_zmq.core.membership import Member, is_host, is_port

ENVIRONMENT_PREFIX = "RAFT_"
NOT_SETTINGS = {"config", "seed"}  # RAFT_CONFIG names the settings file, RAFT_SEED belongs to the simulator

FRAME_MARGIN_BYTES = 64 << 10  # of a frame between nodes: what stands around a command or a chunk, at most
FRAME_BYTES_MIN = FRAME_MARGIN_BYTES + 1024  # the smallest chunk of a snapshot has to fit

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Bytes = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's settings; `load` makes it and checks what one field alone cannot show."""

    node_id: Annotated[str, Meta(description="this node's name among the members; default: the host name")] = ""
    cluster_id: Annotated[
        str, Meta(min_length=1, max_length=63, description="keeps clusters apart: other clusters' messages are refused")
    ] = "raft"
    members: Annotated[
        str, Meta(description="the first members, as id=host:peer_port:client_port, with commas between")
    ] = ""
    join: Annotated[
        bool, Meta(description="start outside the cluster and wait to be added by `raftctl members add`")
    ] = False
    data_dir: Annotated[str, Meta(min_length=1, description="folder of the log, the snapshots and the identity")] = (
        "data"
    )
    bind_host: Annotated[str, Meta(min_length=1, description="interface to listen on; * is all")] = "*"
    client_port: Annotated[Port, Meta(description="port for clients")] = 6000
    peer_port: Annotated[Port, Meta(description="port for the other nodes")] = 6001
    http_port: Annotated[Port, Meta(description="port of /livez /readyz /metrics /status")] = 8080
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="least level of log lines")] = (
        "info"
    )

    auth: Annotated[
        Literal["curve", "none"], Meta(description="curve: encrypt, and admit known keys only; none: neither")
    ] = "curve"
    keys_dir: Annotated[
        str, Meta(description="folder of the CURVE keys that `raftctl keys generate` writes; looked at once a second")
    ] = ""
    own_key_dir: Annotated[str, Meta(description="folder of this node's own secret key; default: keys_dir")] = ""

    election_timeout_s_min: Annotated[Seconds, Meta(description="shortest silence before an election (§5.2)")] = 0.25
    election_timeout_s_max: Annotated[Seconds, Meta(description="longest silence before an election (§5.2)")] = 0.5
    heartbeat_interval_s: Annotated[Seconds, Meta(description="time between a leader's heartbeats (§5.2)")] = 0.075
    pre_vote: Annotated[bool, Meta(description="ask before starting a term (thesis 9.6)")] = True
    check_quorum: Annotated[bool, Meta(description="a leader that hears no majority steps down (thesis 6.2)")] = True
    lease_reads: Annotated[
        bool, Meta(description="serve reads on a lease, trusting clocks to drift little (thesis 6.4.1)")
    ] = False
    clock_drift_max: Annotated[
        float, Meta(ge=0, lt=1, description="share by which a lease is shortened for clock drift")
    ] = 0.05

    append_bytes_max: Annotated[Bytes, Meta(description="entries in one AppendEntries")] = 1 << 20
    inflight_messages_max: Annotated[int, Meta(ge=1, description="AppendEntries on the way to one follower")] = 64
    inflight_bytes_max: Annotated[Bytes, Meta(description="bytes on the way to one follower")] = 16 << 20
    uncommitted_bytes_max: Annotated[Bytes, Meta(description="proposals not yet committed; more is answered busy")] = (
        64 << 20
    )
    snapshot_log_bytes: Annotated[Bytes, Meta(description="log size that makes the node write a snapshot")] = 64 << 20
    snapshot_chunk_bytes: Annotated[
        int, Meta(ge=1024, le=8 << 20, description="one chunk of a snapshot on its way to a follower")
    ] = 256 << 10
    trailing_entries: Annotated[int, Meta(ge=0, description="entries kept below a snapshot for slow followers")] = 5_000
    trailing_bytes: Annotated[int, Meta(ge=0, description="bytes of entries kept below a snapshot, at most")] = 8 << 20
    segment_bytes: Annotated[int, Meta(ge=4096, description="size of one file of the log, allocated at once")] = (
        16 << 20
    )

    session_ttl_s: Annotated[Seconds, Meta(description="idle time after which a client session ends")] = 900.0
    frame_bytes_max: Annotated[int, Meta(ge=FRAME_BYTES_MIN, description="one frame from a peer or client")] = 20 << 20
    message_frames_max: Annotated[
        int, Meta(ge=2, le=4096, description="frames in one message between nodes; the same on all of them")
    ] = 257
    connections_max: Annotated[int, Meta(ge=1, description="connections to the client port")] = 1_000
    client_connections_max: Annotated[int, Meta(ge=1, description="connections of one client's key, or one node's")] = (
        250
    )
    handshakes_max: Annotated[
        int, Meta(ge=1, description="handshakes under way on one port; the oldest has to make room")
    ] = 250
    connection_bytes_max: Annotated[
        Bytes, Meta(description="bytes waiting on one connection, in or out; one with more is cut")
    ] = 64 << 20
    waiting_bytes_max: Annotated[
        Bytes, Meta(description="bytes waiting on all connections; beyond, the one with most is cut")
    ] = 256 << 20
    requests_max: Annotated[int, Meta(ge=1, description="requests under way; more are answered busy")] = 50_000
    client_requests_max: Annotated[
        int, Meta(ge=1, description="requests under way of one client's key; more are answered busy")
    ] = 20_000
    refusal_log_interval_s: Annotated[
        Seconds, Meta(description="repeated refusals of one kind share a log line for this long")
    ] = 60.0
    slow_disk_s: Annotated[
        Seconds, Meta(description="a slower sync is reported as slow_disk; 3 of 5 make a leader hand over")
    ] = 0.1
    fault_injection: Annotated[bool, Meta(description="allow `raftctl fault` to make this node misbehave")] = False

    @property
    def command_bytes_max(self) -> int:
        """The largest command that can be replicated: a peer ends the connection on a frame of more."""
        return self.frame_bytes_max - FRAME_MARGIN_BYTES

    def core_config(self, incarnation: str) -> Config:
        """What the core takes of these settings."""
        names = (*Config.__struct_fields__,)
        shared = {name: getattr(self, name) for name in names if name not in ("node_id", "incarnation")}
        return Config(node_id=self.node_id, incarnation=incarnation, **shared)

    def first_members(self) -> tuple[Member, ...]:
        """The members of the cluster's first configuration, sorted; () with `join`."""
        return () if self.join else parse_members(self.members)


def parse_members(text: str) -> tuple[Member, ...]:
    """Read "id=host:peer_port:client_port,…"; raises SettingsError naming the part that is wrong."""
    members: dict[str, Member] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        node_id, _, place = part.partition("=")
        host, _, ports = place.rpartition(":")
        host, _, peer_port = host.rpartition(":")
        if not (node_id and is_host(host) and is_port(peer_port) and is_port(ports)):
            raise SettingsError(
                f"members: expected id=host:peer_port:client_port, found {part!r}. "
                "Example: raft-0=raft-0.raft-headless:6001:6000"
            )
        if node_id in members:
            raise SettingsError(f"members: expected each id once, found {node_id!r} twice. Remove one of the two.")
        members[node_id] = Member(node_id, f"{host}:{peer_port}", f"{host}:{ports}")
    return tuple(members[node_id] for node_id in sorted(members))


def load(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Merge the three sources (a flag that is None was not given) and check them together.

    Raises SettingsError with one line: what was expected, what was found, what to do.
    """
    known = set(Settings.__struct_fields__)
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for origin, values in (
        (f"file {file}", _read_file(file) if file else {}),
        ("environment", _read_environment(environment, known)),
        ("flag", {name: value for name, value in flags.items() if value is not None}),
    ):
        for name, value in values.items():
            merged[name] = value
            sources[name] = origin
    for name, origin in sources.items():
        if name not in known:
            raise SettingsError(f"{name!r} ({origin}): expected a known setting. `raft-node --help` lists them all.")
    settings = _convert(merged, sources)
    if not settings.node_id:
        settings = msgspec.structs.replace(settings, node_id=socket.gethostname().split(".")[0])
    _check_together(settings)
    return settings


def _read_environment(environment: Mapping[str, str], known: set[str]) -> dict[str, str]:
    """RAFT_* variables; a service's variables that Kubernetes injects by itself (RAFT_SERVICE_HOST, …) are not ours."""
    found = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        injected = (
            "_port_" in name or name.startswith("headless_") or name.endswith(("service_host", "service_port", "_port"))
        )
        if name in NOT_SETTINGS or (name not in known and injected):
            continue
        found[name] = value
    return found


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except Exception as error:  # YAML's own errors, and whatever an impossible date or number makes Python raise
        found = " ".join(str(error).split()) or type(error).__name__  # on one line
        raise SettingsError(
            f"settings file {file}: expected readable YAML, found: {found}. Mend it or leave --config out."
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise SettingsError(f"settings file {file}: expected `name: value` lines, found {type(content).__name__}.")
    return content


def _convert(merged: dict[str, Any], sources: dict[str, str]) -> Settings:
    """Turn each value into its field's type on its own, so that an error names the setting and where it came from."""
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    converted = {}
    for name, value in merged.items():
        try:
            # Flags and variables are text; a YAML file has types of its own and must have the right ones.
            strict = sources[name].startswith("file")
            converted[name] = msgspec.convert(value, types[name], strict=strict)
        except msgspec.ValidationError as error:
            raise SettingsError(
                f"{name} ({sources[name]}): {_expected(types[name], error)}, found {value!r}. "
                "`raft-node --help` describes it."
            ) from error
    return Settings(**converted)


def _expected(type_: Any, error: msgspec.ValidationError) -> str:
    """What msgspec wanted, in the words of our other errors; it does not list the choices by itself."""
    choices = get_args(get_args(type_)[0])
    if choices:
        return f"expected one of {', '.join(choices)}"
    return str(error).replace("Expected", "expected").partition(", got")[0]


def _check_together(settings: Settings) -> None:
    """What only several settings together can show."""
    needed_s = round(3 * settings.heartbeat_interval_s, 9)  # 3 x 0.05 is 0.15 and a little in binary floating point
    if settings.election_timeout_s_min < needed_s:
        raise SettingsError(
            f"election_timeout_s_min: expected at least 3 x heartbeat_interval_s = {needed_s:g}, "
            f"found {settings.election_timeout_s_min:g}. Raise the one or lower the other (§5.6)."
        )
    if settings.election_timeout_s_max < settings.election_timeout_s_min:
        raise SettingsError(
            f"election_timeout_s_max: expected at least election_timeout_s_min = {settings.election_timeout_s_min:g}, "
            f"found {settings.election_timeout_s_max:g}. Raise RAFT_ELECTION_TIMEOUT_S_MAX."
        )
    if settings.lease_reads and not settings.check_quorum:
        raise SettingsError(
            "lease_reads: expected check_quorum to be on with it, found it off. Turn one of them round."
        )
    if settings.connection_bytes_max < 2 * settings.frame_bytes_max:
        raise SettingsError(
            f"connection_bytes_max: expected at least 2 x frame_bytes_max = {2 * settings.frame_bytes_max}, so that a "
            f"message fits, found {settings.connection_bytes_max}. Raise the one or lower the other."
        )
    for name in ("append_bytes_max", "snapshot_chunk_bytes"):
        if getattr(settings, name) > settings.command_bytes_max:
            raise SettingsError(
                f"{name}: expected at most frame_bytes_max less {FRAME_MARGIN_BYTES} = {settings.command_bytes_max}, "
                f"so that a peer takes it, found {getattr(settings, name)}. Lower the one or raise the other."
            )
    if settings.waiting_bytes_max < settings.connection_bytes_max:
        raise SettingsError(
            f"waiting_bytes_max: expected at least connection_bytes_max = {settings.connection_bytes_max}, "
            f"found {settings.waiting_bytes_max}. Raise the one or lower the other."
        )
    if settings.auth == "curve" and not settings.keys_dir:
        raise SettingsError(
            "keys_dir: expected a folder with CURVE keys, found none. Make one with `raftctl keys generate --dir DIR`, "
            "or set RAFT_AUTH=none to go without encryption."
        )
    ids = [member.node_id for member in parse_members(settings.members)]
    if settings.join:
        return
    if settings.node_id not in ids:
        raise SettingsError(
            f"members: expected this node's id {settings.node_id!r} among them, "
            f"found {', '.join(ids) or 'no members'}. "
            "Set RAFT_NODE_ID or RAFT_MEMBERS, or use --join for a node that is added later."
        )
