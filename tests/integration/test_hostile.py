"""Strangers at both ports, and garbage from a client that has a key: the others notice nothing wrong.

Longer with RAFT_HOSTILE_S=60. Everything happens on loopback, against nodes that the test started.
"""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from raft_zmq import local
from raft_zmq.client import config
from raft_zmq.client.client import RaftClient
from raft_zmq.core.errors import RaftLabError
from raft_zmq.transport import key_rotation, keys
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.wire.client_messages import Answer, Busy, Done, Status, Write
from raft_zmq.wire.commands import OpenSession
from tests.integration import hostile
from tests.integration.conftest import RunningCluster, StartCluster
from tests.integration.waiting import wait_until
from tests.unit.transport_world import free_port

SECONDS = float(os.environ.get("RAFT_HOSTILE_S", "5"))
WINDOWS = 5
WINDOW_S = min(max(1.25, SECONDS / 4), 5.0)
SAMPLE_S = 0.02
STANDSTILL_MS = 100.0  # less than half of the shortest default election timeout
ROOT = Path(__file__).parents[2]

# A turn of the loop that took a second would be an election here; a busy machine alone does not make one.
PATIENT = {"election_timeout_s_min": 1.0, "election_timeout_s_max": 2.0}


@pytest.fixture
def cluster(start_cluster: StartCluster) -> RunningCluster:
    """Three nodes, a client `app` that may write, and a client whose key has been revoked."""
    cluster = start_cluster(3, **PATIENT)
    folder = cluster.directory / "keys"
    key_rotation.add(folder, "client.app", keys.Role.READ_WRITE)
    key_rotation.add(folder, "client.revoked", keys.Role.ADMIN)
    strange = cluster.directory / "strange"
    strange.mkdir()
    for half in ("secret", "public"):
        name = f"client.revoked.{half}"
        (strange / name).write_bytes((folder / name).read_bytes())
    key_rotation.revoke(folder, "client.revoked")
    with RaftClient(config_of(cluster, "app")) as client:
        wait_until(lambda: is_let_in(client), "the client to be let in")
    return cluster


def is_let_in(client: RaftClient) -> bool:
    try:
        client.put(b"key", b"value", timeout_s=1.0)
    except RaftLabError:
        return False
    return True


def config_of(cluster: RunningCluster, name: str) -> config.ClientConfig:
    """For a client whose keys lie in the cluster's folder."""
    loaded = config.load(cluster.config_file)
    return msgspec.structs.replace(loaded, keys=keys.load_client_keys(cluster.directory / "keys", name))


def addresses(cluster: RunningCluster, name: str) -> tuple[str, str]:
    """Where that node listens for clients and for peers."""
    content = (cluster.directory / "cluster.yaml").read_bytes()
    node = msgspec.yaml.decode(content, type=local.LocalCluster).node(name)
    return f"{local.HOST}:{node.client_port}", f"{local.HOST}:{node.peer_port}"


class Hostile:
    """One of the programs of hostile.py, against that node or whoever listens at these addresses."""

    def __init__(self, cluster: RunningCluster, what: str, node: str, client_address: str, peer_address: str) -> None:
        folders = [str(cluster.directory / "keys"), str(cluster.directory / "strange")]
        command = [sys.executable, "-m", "tests.integration.hostile", what, *folders]
        self._process = subprocess.Popen(
            [*command, node, client_address, peer_address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def __enter__(self) -> "Hostile":
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        assert self._process.wait(timeout=SECONDS + 60) == 0
        self._output.close()

    def begin(self, seconds: float) -> None:
        """Set it on for so long."""
        self._input.write(f"{seconds}\n")
        self._input.flush()

    def done(self, wait_s: float = 0.0) -> bool:
        return bool(select.select([self._output], [], [], wait_s)[0])

    def counts(self) -> Counter[str]:
        """What it did since it began; waits for its end."""
        return Counter(json.loads(self._output.readline()))


def metrics(cluster: RunningCluster, name: str) -> Counter[str]:
    """Samples by name, and `name:reason` where there are reasons."""
    http = next(report.http_address for report in local.status(cluster.directory) if report.node_id == name)
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as page:
        families = text_string_to_metric_families(page.read().decode())
        samples = [sample for family in families for sample in family.samples]
    found: Counter[str] = Counter()
    for sample in samples:
        reason = sample.labels.get("reason")
        found[f"{sample.name}:{reason}" if reason else sample.name] += sample.value
    return found


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def p99_ms(client: RaftClient, until: Callable[[], bool]) -> float:
    """Of puts, one after the other; each is read back."""
    took_s = []
    while not until():
        begun_s = time.monotonic()
        value = str(len(took_s)).encode()
        client.put(b"measured", value, timeout_s=10)
        took_s.append(time.monotonic() - begun_s)
        if len(took_s) % 20 == 0:
            assert client.get(b"measured", timeout_s=10) == value
    return sorted(took_s)[int(len(took_s) * 0.99)] * 1000


def for_seconds(seconds: float) -> Callable[[], bool]:
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() > end_s


# Acceptance: strangers


TRIES = [
    ("without a key", "raft_transport_handshakes_failed_total:no_curve"),
    ("without a key at the peer port", "raft_transport_handshakes_failed_total:no_curve"),
    ("with a wrong key", "raft_transport_keys_refused_total:unknown_key"),
    ("with a wrong server key", "raft_transport_handshakes_failed_total:wrong_server_key"),
    ("with a revoked key", "raft_transport_keys_refused_total:unknown_key"),
    ("with a node's key at the client port", "raft_transport_keys_refused_total:unknown_key"),
    ("with a client's key at the peer port", "raft_transport_keys_refused_total:unknown_key"),
    ("with a peer's key under another node id", "raft_transport_peer_messages_refused_total:sender_is_not_key_owner"),
]


def test_every_stranger_is_refused_counted_and_logged(cluster: RunningCluster) -> None:
    client_address, peer_address = addresses(cluster, "n1")
    folder = cluster.directory
    knocker = hostile.Knocker(folder / "keys", folder / "strange", "n1", client_address, peer_address)
    term = cluster.status("n1")["term"]
    assert set(knocker.tries) == {name for name, _ in TRIES}
    for name, metric in TRIES:
        before = metrics(cluster, "n1")[metric]
        knocker.tries[name]()
        wait_until(lambda m=metric, b=before: metrics(cluster, "n1")[m] > b, f"{name}: {metric}")
        assert knocker.answered() == 0, name
    knocker.close()

    def reasons(kind: str) -> set[str]:
        return {event["reason"].partition(":")[0] for event in cluster.events("n1", kind)}

    wait_until(
        lambda: {"handshake_no_curve", "handshake_wrong_server_key", "unknown_key"} <= reasons("client_refused"),
        "a line about each at the client port",
    )
    wait_until(
        lambda: {"handshake_no_curve", "unknown_key", "sender_is_not_key_owner"} <= reasons("peer_refused"),
        "a line about each at the peer port",
    )
    assert cluster.status("n1")["term"] < hostile.HIGH_TERM
    assert cluster.status("n1")["term"] == term
    with cluster.client() as client:
        assert client.get(b"stolen") is None


def p99_while_knocked_at(client: RaftClient, strangers: Hostile) -> tuple[float, Counter[str]]:
    strangers.begin(WINDOW_S)
    return p99_ms(client, strangers.done), strangers.counts()


def test_a_thousand_strangers_a_second_do_no_harm(cluster: RunningCluster) -> None:
    """Strangers have machines of their own, but here they share one with the nodes and the client.

    What that costs is seen while the same strangers knock elsewhere on it, at ports that lead nowhere. Windows of each
    kind take turns, and the medians of their p99s are printed: how far they lie apart is the machine's. What would be
    harm on any machine is a loop that stands still.
    """
    leader = cluster.leader()
    elsewhere = [f"{local.HOST}:{free_port()}" for _ in range(2)]
    alone_ms, elsewhere_ms, here_ms = [], [], []
    tried: Counter[str] = Counter()
    with contextlib.ExitStack() as opened:
        client = opened.enter_context(cluster.client())
        opened.enter_context(Hostile(cluster, "listen", leader, *elsewhere)).counts()
        knocking_elsewhere = opened.enter_context(Hostile(cluster, "knock", leader, *elsewhere))
        knocking_here = opened.enter_context(Hostile(cluster, "knock", leader, *addresses(cluster, leader)))
        for strangers in (knocking_elsewhere, knocking_here):
            strangers.begin(0.0)
            strangers.counts()
        for _ in range(WINDOWS):
            alone_ms.append(p99_ms(client, for_seconds(WINDOW_S)))
            elsewhere_ms.append(p99_while_knocked_at(client, knocking_elsewhere)[0])
            p99, counts = p99_while_knocked_at(client, knocking_here)
            here_ms.append(p99)
            tried += counts
        answered, cut = tried.pop("answered", 0), tried.pop("cut", 0)
        alone, others, here = (statistics.median(found) for found in (alone_ms, elsewhere_ms, here_ms))
        per_s = tried.total() / WINDOWS / WINDOW_S
        print(f"p99 {alone:.1f} ms alone, {others:.1f} ms with {hostile.KNOCKS_PER_S} attempts a second elsewhere on")
        print(f"the machine, {here:.1f} ms with {per_s:.0f} a second at the leader; cut {cut}; {dict(tried)}")
        assert answered == 0
        assert client.get(b"stolen") is None
    assert per_s > hostile.KNOCKS_PER_S / 5, "all there are, except on a machine that others keep busy to the full"
    usual = max(alone, others)
    assert here <= usual + STANDSTILL_MS, (alone_ms, elsewhere_ms, here_ms)
    assert cluster.status(leader)["term"] < hostile.HIGH_TERM
    found = metrics(cluster, leader)
    refused = sum(
        found[f"raft_transport_{name}"]
        for name in (
            "handshakes_failed_total:no_curve",
            "handshakes_failed_total:wrong_server_key",
            "handshakes_failed_total:unfinished",
            "keys_refused_total:unknown_key",
            "peer_messages_refused_total:sender_is_not_key_owner",
        )
    )
    assert 0.9 * tried.total() < refused < 1.1 * tried.total() + hostile.OPEN_MAX, "one try is one refusal"
    lines = cluster.events(leader, "client_refused", "peer_refused")
    assert len(lines) < 40, "each kind has one line for a start, and one with a count every minute"
    cluster.judge()


# Acceptance: garbage


def test_garbage_from_a_client_with_a_key_harms_nobody_else(cluster: RunningCluster) -> None:
    leader = cluster.leader()
    term, pid = cluster.status(leader)["term"], cluster.pid(leader)
    with cluster.client() as client:
        for number in range(1000):
            client.put(b"scan %d" % number, bytes(1000))
    before_bytes = most_bytes = resident_bytes(pid)
    with cluster.workload(clients=4, ops_per_s=100) as load:
        with Hostile(cluster, "garbage", leader, *addresses(cluster, leader)) as garbage:
            garbage.begin(SECONDS)
            while not garbage.done(SAMPLE_S):
                most_bytes = max(most_bytes, resident_bytes(pid))
            sent = garbage.counts()
        load.wait_for_answers(50)
    print(f"memory {before_bytes >> 20} MiB before, {most_bytes >> 20} MiB at most; sent {dict(sent)}")
    print(f"longest time without a write: {load.longest_silence_s():.2f} s")
    assert cluster.pid(leader) == pid
    assert len(sent) == len(hostile.Garbage(0).kinds)
    status = cluster.status(leader)
    assert (status["role"], status["term"]) == ("leader", term), "an election"
    # What may wait (256 MiB), one message being read, its answers, and what malloc keeps.
    assert most_bytes - before_bytes < 700 << 20
    found = metrics(cluster, leader)
    assert found["raft_transport_requests_refused_total:bad_request"] > 0
    assert found["raft_transport_requests_refused_total:frames"] > 0
    assert found["raft_transport_connections_cut_total:connection_bytes_max"] > 0
    assert found["raft_transport_connections_cut_total:oversized_or_silent"] > 0
    cluster.judge()


def test_overload_is_answered_busy_and_passes(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3, requests_max=400, client_requests_max=300, **PATIENT)
    leader = cluster.leader()
    admin = keys.load_client_keys(cluster.directory / "keys", "admin")
    connection = ClientConnection(cluster.address(leader), admin, "local")
    answers: list[Answer] = []

    def all_answered(number: int) -> bool:
        connection.socket.poll(10)
        answers.extend(connection.receive())
        return len(answers) >= number

    connection.send([Status(1)])
    wait_until(lambda: all_answered(1), "the connection")
    answers.clear()
    begun_s = time.monotonic()
    connection.send([Write(number, hostile.encode(OpenSession(b"%d" % number))) for number in range(1200)])
    wait_until(lambda: all_answered(1200), "an answer to each")
    kinds = Counter(type(answer) for answer in answers)
    print(f"{kinds[Done]} done, {kinds[Busy]} busy after {time.monotonic() - begun_s:.2f} s")
    assert kinds == {Done: 300, Busy: 900}
    assert metrics(cluster, leader)["raft_busy_total"] >= 900
    wait_until(lambda: metrics(cluster, leader)["raft_requests_under_way"] == 0, "room for others")
    connection.close()
    with cluster.workload(clients=8) as load:
        load.wait_for_answers(100)
    cluster.judge()
