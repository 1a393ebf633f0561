"""Pods that are deleted and killed while clients write: nothing acknowledged is lost, the history is linearizable.

What the two commands of the lab show for a quiet run is shown here for a disturbed one, on the cluster they left.
"""

import base64
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.verify.gather import gather
from client.verify.rules import judge
from tests.infra.conftest import NODES, Lab, run

pytestmark = pytest.mark.kind

WORKLOAD_S = 25
WAIT_S = 120.0
CONFIG = "/etc/raft-client/client.yaml"
PACK = (
    "import base64, gzip, pathlib; "
    'packed = gzip.compress(pathlib.Path("/history/load.jsonl").read_bytes()); '
    "print(base64.encodebytes(packed).decode())"
)

Tell = Callable[[], Any]


def wait_for(what: str, condition: Tell) -> Any:
    """What the condition gives once that is true; each try asks the cluster, which takes its time."""
    deadline_s = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"expected {what} within {WAIT_S:g} s"
    return found


def log_of(lab: Lab, pod: str) -> list[dict[str, Any]]:
    """The lines of a node's container since it started."""
    return [json.loads(line) for line in lab.kubectl("logs", pod, "--container=raft").splitlines()]


def status_of(lab: Lab, pod: str) -> dict[str, Any]:
    """What the node says of itself, asked through the API server."""
    path = f"/api/v1/namespaces/{lab.namespace}/pods/{pod}:8080/proxy/status"
    found: dict[str, Any] = json.loads(lab.kubectl("get", "--raw", path))
    return found


def leader(lab: Lab) -> str:
    """Who leads, by its own word."""
    return str(next(name for name in NODES if status_of(lab, name)["role"] == "leader"))


def kill_process(lab: Lab, pod: str) -> None:
    """SIGKILL the node's process from outside its container, where it is process 1 and cannot be killed."""
    machine = lab.get("pod", pod)["spec"]["nodeName"]
    find = (
        "for process in /proc/[0-9]*; do"
        f" if tr '\\0' '\\n' <$process/environ 2>/dev/null | grep -qx HOSTNAME={pod}"
        " && tr '\\0' ' ' <$process/cmdline | grep -q raft-node;"
        " then kill -9 ${process#/proc/} && echo killed; fi; done"
    )
    assert "killed" in run("docker", "exec", machine, "sh", "-c", find)


@pytest.fixture
def workload(lab: Lab) -> Iterator[str]:
    """A pod made like `client` that runs a workload and then prints the history, packed.

    As it stands it has more than the 10 MiB after which a kubelet begins a new log, which is all that is shown then.
    """
    pod = lab.get("pod", "client")
    container = next(item for item in pod["spec"]["containers"] if item["name"] == "client")
    script = (
        f"python -m client --config {CONFIG} workload --clients 8 --keys 6 --seconds {WORKLOAD_S}"
        f" --history /history/load.jsonl >/history/load.log 2>&1; code=$?; python -c '{PACK}'; exit $code"
    )
    container = {**container, "command": ["sh", "-c", script], "args": []}
    spec = {**pod["spec"], "containers": [container]}
    for unwanted in ("nodeName", "hostname", "subdomain"):
        spec.pop(unwanted, None)
    labels = pod["metadata"]["labels"]
    name = "workload"
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
    lab.kubectl("delete", "pod", name, "--ignore-not-found")
    yield json.dumps(manifest)
    lab.kubectl("delete", "pod", name, "--ignore-not-found")


def test_a_deleted_pod_and_a_killed_leader_lose_nothing(lab: Lab, workload: str, tmp_path: Path) -> None:
    """Delete raft-1, then kill the leader's process, while clients write; raft-1 comes back with its log."""
    manifest = tmp_path / "workload.json"
    manifest.write_text(workload)
    before = status_of(lab, "raft-1")
    lab.kubectl("create", f"--filename={manifest}")
    wait_for("the workload to run", lambda: lab.get("pod", "workload")["status"]["phase"] == "Running")
    grown = before["commit_index"] + 200
    wait_for("the workload to write", lambda: status_of(lab, leader(lab))["commit_index"] > grown)

    former_uid = lab.get("pod", "raft-1")["metadata"]["uid"]
    lab.kubectl("delete", "pod", "raft-1", "--wait=true")
    lab.kubectl("rollout", "status", "statefulset/raft", f"--timeout={WAIT_S:g}s")
    assert lab.get("pod", "raft-1")["metadata"]["uid"] != former_uid
    started = next(line for line in log_of(lab, "raft-1") if line["event"] == "node_started")
    assert started["incarnation"] == before["incarnation"], "it has its volume"
    assert started["last_log_index"] >= grown, "it has its log"

    killed = leader(lab)
    kill_process(lab, killed)
    wait_for(
        "another leader or the same one again", lambda: any(status_or_none(lab, name) == "leader" for name in NODES)
    )
    wait_for("the workload to end", lambda: lab.get("pod", "workload")["status"]["phase"] in ("Succeeded", "Failed"))
    assert lab.get("pod", "workload")["status"]["phase"] == "Succeeded", lab.kubectl("logs", "workload")[-2000:]
    lab.kubectl("rollout", "status", "statefulset/raft", f"--timeout={WAIT_S:g}s")

    (tmp_path / "run").mkdir()
    packed = base64.decodebytes(lab.kubectl("logs", "workload").encode())
    (tmp_path / "run" / "history.jsonl").write_bytes(gzip.decompress(packed))
    for name in NODES:
        lines = lab.kubectl("logs", name, "--container=raft")
        if name == killed:
            lines = lab.kubectl("logs", name, "--container=raft", "--previous") + lines
        (tmp_path / "run" / f"{name}.log").write_text(lines)
    verdict = judge(gather(tmp_path / "run"))
    passed = {check.name for check in verdict.checks if check.status == "pass"}
    failed = {check.name: check.violations for check in verdict.checks if check.status == "fail"}
    assert failed == {}
    assert {"Linearizability", "No acknowledged write lost", "State Machine Safety", "Election Safety"} <= passed


def status_or_none(lab: Lab, pod: str) -> str:
    """The node's role; "" while it does not answer."""
    try:
        return str(status_of(lab, pod)["role"])
    except AssertionError:
        return ""
