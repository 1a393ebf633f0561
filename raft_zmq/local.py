"""A cluster of real node processes on this machine: the same program as in a pod, on free loopback ports.

Everything about it lies in one folder: `cluster.yaml` (which nodes, ports and processes), `client.yaml` (what --config
takes), `keys/`, and for each node `<id>.yaml` (settings), `<id>.log` and `<id>/` (data).
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import yaml

from raft_zmq.core.errors import OutcomeUnknownError, RaftLabError, SettingsError
from raft_zmq.transport import keys

Setting: TypeAlias = str | int | float | bool

HOST = "127.0.0.1"
NODES = 3  # of a new cluster, when nobody says how many
CLUSTER_ID = "local"
SPARE_KEYS = 4  # pairs made for nodes that may be added later
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
CHECK_INTERVAL_S = 0.02


class LocalNode(msgspec.Struct):
    """One node: its ports, and its process while it has one. `started` tells it from another process of that pid."""

    node_id: str
    client_port: int
    peer_port: int
    http_port: int
    pid: int = 0
    started: str = ""
    joins: bool = False


class LocalCluster(msgspec.Struct):
    """What cluster.yaml holds."""

    nodes: list[LocalNode]
    settings: dict[str, Setting] = {}

    def node(self, node_id: str) -> LocalNode:
        """The node of that name; raises SettingsError when there is none."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        names = ", ".join(node.node_id for node in self.nodes)
        raise SettingsError(f"node: expected one of {names}, found {node_id!r}. See `raftctl local status`.")


class NodeReport(msgspec.Struct, frozen=True):
    """One line of `raftctl local status`: `status` is what GET /status says, None when there is no answer."""

    node_id: str
    pid: int  # 0 when there is no process
    client_address: str
    http_address: str
    status: dict[str, object] | None


def numbered(count: int) -> list[str]:
    """The names of so many nodes that were given none: n1, n2, …"""
    return [f"n{number}" for number in range(1, count + 1)]


def up(
    directory: Path,
    names: Sequence[str] = (),
    settings: Mapping[str, Setting] | None = None,
) -> LocalCluster:
    """Start the nodes and return once they are ready. A folder that holds a stopped cluster starts that one again.

    Without `names` these are the nodes of that cluster, or NODES new ones. `settings` go into every node's settings
    file, beside those given before; when the nodes do not start with them they are forgotten. Raises SettingsError when
    the folder holds a running cluster or one of other nodes, OutcomeUnknownError when the nodes do not become ready in
    time; what was started is stopped again.
    """
    directory = directory.resolve()
    cluster = _existing(directory, names) or _create(directory, names or numbered(NODES))
    before = cluster.settings
    cluster.settings = {**before, **(settings or {})}
    try:
        _write_client_config(directory, cluster)
        for node in cluster.nodes:
            _spawn(directory, cluster, node)
        _save(directory, cluster)
        _wait_until_ready(directory, cluster.nodes)
    except BaseException:
        _stop_processes(cluster.nodes)
        cluster.settings = before
        _write_client_config(directory, cluster)
        _save(directory, cluster)
        raise
    return cluster


def down(directory: Path) -> list[str]:
    """Stop exactly the processes of this cluster; returns the names of those that ran. Data and logs stay."""
    directory = directory.resolve()
    cluster = _load(directory)
    running = [node for node in cluster.nodes if is_running(node)]
    _stop_processes(running)
    _save(directory, cluster)
    return [node.node_id for node in running]


def status(directory: Path) -> list[NodeReport]:
    """What each node says of itself."""
    return [
        NodeReport(
            node.node_id,
            node.pid if is_running(node) else 0,
            f"{HOST}:{node.client_port}",
            f"{HOST}:{node.http_port}",
            _get_status(node),
        )
        for node in _load(directory.resolve()).nodes
    ]


def add(directory: Path, node_id: str) -> LocalNode:
    """Start one more node that waits outside the cluster until `raftctl members add` names it."""
    directory = directory.resolve()
    cluster = _load(directory)
    if any(node.node_id == node_id for node in cluster.nodes):
        raise SettingsError(f"node: expected a new name, found {node_id!r} there already. Choose another one.")
    if not (directory / "keys" / f"peer.{node_id}.secret").exists():
        raise SettingsError(
            f"node: expected a name that has keys, found {node_id!r}. Choose one of {_spare(directory, cluster)}."
        )
    node = _new_nodes([node_id])[0]
    node.joins = True
    cluster.nodes.append(node)
    _spawn(directory, cluster, node)
    _save(directory, cluster)
    _write_client_config(directory, cluster)
    _wait(lambda: _get_status(node) is not None, START_TIMEOUT_S, lambda: _describe_failure(directory, [node]))
    return node


def kill(directory: Path, node_id: str) -> None:
    """End the node at once, as a power cut would (SIGKILL)."""
    _signal(directory, node_id, signal.SIGKILL)
    _forget_process(directory.resolve(), node_id)


def stop(directory: Path, node_id: str) -> None:
    """Halt the node's process where it stands (SIGSTOP); `cont` lets it go on."""
    _signal(directory, node_id, signal.SIGSTOP)


def cont(directory: Path, node_id: str) -> None:
    """Let a halted node go on (SIGCONT)."""
    _signal(directory, node_id, signal.SIGCONT)


def start(directory: Path, node_id: str) -> None:
    """Start a node again that was killed; returns when it answers, which may be before it has a leader."""
    directory = directory.resolve()
    cluster = _load(directory)
    node = cluster.node(node_id)
    if is_running(node):
        raise SettingsError(
            f"node: expected {node_id} not to run, found it running as process {node.pid}. Kill it first."
        )
    _spawn(directory, cluster, node)
    _save(directory, cluster)
    _wait(lambda: _get_status(node) is not None, START_TIMEOUT_S, lambda: _describe_failure(directory, [node]))


def is_running(node: LocalNode) -> bool:
    """Whether the process started for that node is there; another process that got its number later is not it."""
    return node.pid != 0 and _started(node.pid) == node.started


def _started(pid: int) -> str:
    """When that process started, as the system writes it; "" when there is none, or only its remains."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # an ended child of this very process stays visible until it is waited for
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    state, start_time = fields[0], fields[19]
    return "" if state == "Z" else start_time


def _existing(directory: Path, names: Sequence[str]) -> LocalCluster | None:
    if not (directory / "cluster.yaml").exists():
        return None
    cluster = _load(directory)
    running = [node.node_id for node in cluster.nodes if is_running(node)]
    if running:
        raise SettingsError(
            f"{directory}: expected no cluster running there, found {', '.join(running)}. "
            f"Stop it with `raftctl local down --dir {directory}`, or choose another folder."
        )
    found = [node.node_id for node in cluster.nodes]
    if names and list(names) != found:
        raise SettingsError(
            f"{directory}: expected a folder without a cluster or with one of {', '.join(names)}, "
            f"found one of {', '.join(found)}. Name no nodes to start that one, or choose another folder."
        )
    return cluster


def _create(directory: Path, names: Sequence[str]) -> LocalCluster:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--dir {directory}: expected a folder to write to, found: {error}. Choose another."
        ) from error
    cluster = LocalCluster(_new_nodes(names))
    if not (directory / "keys").exists():
        all_names = [*names, *_spare_names(names)]
        keys.generate(directory / "keys", all_names, {"admin": keys.Role.ADMIN})
    _save(directory, cluster)
    return cluster


def _spare_names(names: Sequence[str]) -> list[str]:
    """Names for nodes that may be added: the last one's number counted on, or n1, n2, … where it has none."""
    stem = names[-1].rstrip("0123456789")
    number = int(names[-1][len(stem) :] or 0)
    return [f"{stem}{number + step}" for step in range(1, SPARE_KEYS + 1)]


def _spare(directory: Path, cluster: LocalCluster) -> str:
    named = {path.name.split(".")[1] for path in (directory / "keys").glob("peer.*.secret")}
    return ", ".join(sorted(named - {node.node_id for node in cluster.nodes}))


def _new_nodes(names: Sequence[str]) -> list[LocalNode]:
    with contextlib.ExitStack() as held:
        ports = [_free_port(held) for _ in range(3 * len(names))]
    return [LocalNode(name, ports.pop(), ports.pop(), ports.pop()) for name in names]


def _free_port(held: contextlib.ExitStack) -> int:
    """A port nobody listens on; held until all are chosen, so that none is chosen twice."""
    listener = held.enter_context(socket.socket())
    listener.bind((HOST, 0))
    port: int = listener.getsockname()[1]
    return port


def _write_client_config(directory: Path, cluster: LocalCluster) -> None:
    admin = keys.load_client_keys(directory / "keys", "admin")
    config = {
        "cluster_id": CLUSTER_ID,
        "endpoints": [f"{node.node_id}={HOST}:{node.client_port}" for node in cluster.nodes],
        "auth": "curve",
        "server_public_key": admin.server_public.decode(),
        "client_public_key": admin.own.public.decode(),
        "client_secret_key": admin.own.secret.decode(),
    }
    if cluster.settings.get("auth") == "none":
        config = {name: value for name, value in config.items() if not name.endswith("_key")} | {"auth": "none"}
    _write(directory / "client.yaml", yaml.safe_dump(config, sort_keys=False), mode=0o600)


def _node_settings(directory: Path, cluster: LocalCluster, node: LocalNode) -> dict[str, object]:
    founders = [member for member in cluster.nodes if not member.joins]
    return {
        "node_id": node.node_id,
        "cluster_id": CLUSTER_ID,
        "members": ",".join(f"{m.node_id}={HOST}:{m.peer_port}:{m.client_port}" for m in founders),
        "join": node.joins,
        "data_dir": str(directory / node.node_id),
        "bind_host": HOST,
        "client_port": node.client_port,
        "peer_port": node.peer_port,
        "http_port": node.http_port,
        "keys_dir": str(directory / "keys"),
        **cluster.settings,
    }


def _spawn(directory: Path, cluster: LocalCluster, node: LocalNode) -> None:
    settings_file = directory / f"{node.node_id}.yaml"
    _write(settings_file, yaml.safe_dump(_node_settings(directory, cluster, node), sort_keys=False))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAFT_")}
    with (directory / f"{node.node_id}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "raft_zmq.cli.node", "--config", str(settings_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # a Ctrl-C meant for the command must not reach the nodes
        )
    process.returncode = 0  # it outlives this command; nobody is to warn that it was not waited for
    node.pid, node.started = process.pid, _started(process.pid)


def _wait_until_ready(directory: Path, nodes: Sequence[LocalNode]) -> None:
    def all_ready() -> bool:
        _fail_if_ended(directory, nodes)
        return not _unready(nodes)

    _wait(all_ready, START_TIMEOUT_S, lambda: _describe_failure(directory, nodes))


def _unready(nodes: Iterable[LocalNode]) -> list[str]:
    """The nodes that do not answer, and those that do not follow a leader although it counts them as members."""
    found = {node.node_id: _get_status(node) for node in nodes}
    members = next((_members(status) for status in found.values() if status and status["role"] == "leader"), set(found))
    return [name for name, status in found.items() if status is None or (name in members and not status["ready"])]


def _members(status: dict[str, Any]) -> set[str]:
    return {*status["voters"], *status["outgoing"], *status["learners"]}


def _fail_if_ended(directory: Path, nodes: Iterable[LocalNode]) -> None:
    for node in nodes:
        if not is_running(node):
            log = directory / f"{node.node_id}.log"
            raise RaftLabError(f"node {node.node_id}: expected it to start, found it ended: {_last_line(log)}")


def _describe_failure(directory: Path, nodes: Iterable[LocalNode]) -> str:
    return (
        f"expected {', '.join(_unready(nodes))} to be ready within {START_TIMEOUT_S:g} s; see the logs in {directory}"
    )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"nothing in {log}"


def _wait(condition: Callable[[], bool], timeout_s: float, describe: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + timeout_s
    waiter = socket.socketpair()  # never readable: a wait that is not a busy loop
    with waiter[0], waiter[1]:
        waiter[0].settimeout(CHECK_INTERVAL_S)
        while not condition():
            if time.monotonic() > deadline_s:
                raise OutcomeUnknownError(describe())
            with contextlib.suppress(TimeoutError):
                waiter[0].recv(1)


def _get_status(node: LocalNode) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{node.http_port}/status", timeout=1) as response:
            found = json.load(response)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _stop_processes(nodes: Sequence[LocalNode]) -> None:
    """SIGTERM to all, then SIGKILL to those that do not end in time."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        running = [node for node in nodes if is_running(node)]
        for node in running:
            _send_signal(node, signal.SIGCONT)
            _send_signal(node, name)
        with contextlib.suppress(OutcomeUnknownError):
            _wait(lambda: not any(is_running(node) for node in nodes), STOP_TIMEOUT_S, lambda: "still running")
    for node in nodes:
        node.pid, node.started = 0, ""


def _signal(directory: Path, node_id: str, name: signal.Signals) -> None:
    node = _load(directory.resolve()).node(node_id)
    if not is_running(node):
        raise RaftLabError(
            f"node {node_id}: expected a running process, found none. Start it with `raftctl local start`."
        )
    _send_signal(node, name)
    if name == signal.SIGKILL:
        _wait(
            lambda: not is_running(node),
            STOP_TIMEOUT_S,
            lambda: f"expected {node_id} to end within {STOP_TIMEOUT_S:g} s",
        )


def _send_signal(node: LocalNode, name: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(node.pid, name)


def _forget_process(directory: Path, node_id: str) -> None:
    cluster = _load(directory)
    node = cluster.node(node_id)
    node.pid, node.started = 0, ""
    _save(directory, cluster)


def _load(directory: Path) -> LocalCluster:
    path = directory / "cluster.yaml"
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=LocalCluster)
    except FileNotFoundError as error:
        raise SettingsError(
            f"--dir {directory}: expected a folder made by `raftctl local up`, found no cluster.yaml in it."
        ) from error
    except (OSError, msgspec.DecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: expected what `raftctl local up` wrote, found: {error}.") from error


def _save(directory: Path, cluster: LocalCluster) -> None:
    _write(directory / "cluster.yaml", yaml.safe_dump(msgspec.to_builtins(cluster), sort_keys=False))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write aside and rename, so that no other command reads half a file."""
    aside = path.with_name(path.name + ".new")
    aside.touch(mode=mode)
    aside.write_text(text)
    aside.replace(path)
