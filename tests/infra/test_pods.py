"""The live pods of the lab: who runs what, what it may touch, and what it answers.

The images have no ps and no ss, so processes and sockets are read from /proc.
"""

import json

import pytest

from tests.infra.conftest import NODES

pytestmark = pytest.mark.kind

LISTEN = "0A"  # the state in /proc/net/tcp
WRITE_MODES = 0o3  # O_WRONLY | O_RDWR


def python(host, code):
    """What a few lines of Python print inside the container, as JSON."""
    return json.loads(host.check_output("python -c %s", code))


def get(host, path):
    """Status and body of a page of the node, from inside its pod."""
    code = (
        "import http.client, json; c = http.client.HTTPConnection('127.0.0.1', 8080, timeout=5); "
        f"c.request('GET', '{path}'); r = c.getresponse(); print(json.dumps([r.status, r.read().decode()]))"
    )
    return python(host, code)


def test_the_node_is_the_only_process_of_its_container(node):
    names = python(
        node,
        "import json, os, pathlib; own = {os.getpid(), os.getppid()}; "
        "print(json.dumps([p.joinpath('cmdline').read_text().split(chr(0)) for p in pathlib.Path('/proc').iterdir() "
        "if p.name.isdigit() and int(p.name) not in own]))",
    )
    (command,) = names
    assert command[1:4] == ["/opt/raft/bin/raft-node", "--config", "/etc/raft/raft.yaml"]


def test_the_process_is_not_root_and_can_gain_nothing(node):
    status = dict(line.split(":\t") for line in node.file("/proc/1/status").content_string.splitlines())
    assert set(status["Uid"].split() + status["Gid"].split()) == {"10001"}
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "a seccomp filter is in force"


def test_exactly_the_three_ports_are_listened_on(node):
    lines = node.check_output("cat /proc/net/tcp /proc/net/tcp6").splitlines()
    fields = [line.split() for line in lines if not line.lstrip().startswith("sl")]
    listening = {int(field[1].rpartition(":")[2], 16) for field in fields if field[3] == LISTEN}
    assert listening == {6000, 6001, 8080}


@pytest.mark.parametrize("path", ["/", "/tmp", "/opt/raft", "/etc/raft", "/etc/raft/own", "/etc/raft-keys"])
def test_nothing_can_be_written_outside_the_volume(node, path):
    assert node.file(path).is_directory
    assert node.run(f"touch {path}/probe").failed


def test_only_the_volume_is_mounted_for_writing(node):
    kernels = {"proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"}
    mounts = [line.split() for line in node.file("/proc/1/mounts").content_string.splitlines()]
    writable = {place for _, place, kind, options, *_ in mounts if "rw" in options.split(",") and kind not in kernels}
    in_memory = {"/dev", "/dev/shm"}
    # Termination messages go to the kubelet; hosts, hostname and resolv.conf are the kubelet's and owned by root.
    of_the_kubelet = {"/dev/termination-log", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    of_the_kernel = {place for place in writable if place.startswith(("/proc/", "/sys/"))}
    assert writable - in_memory - of_the_kubelet - of_the_kernel == {"/var/lib/raft"}


def test_every_file_the_node_writes_is_in_the_volume(node):
    opened = python(
        node,
        "import json, os, pathlib, stat\n"
        "found = []\n"
        "for fd in os.listdir('/proc/1/fd'):\n"
        "    try:\n"
        "        flags = [l.split()[1] for l in open(f'/proc/1/fdinfo/{fd}') if l.startswith('flags')][0]\n"
        "        if stat.S_ISREG(os.stat(f'/proc/1/fd/{fd}').st_mode):\n"
        "            found.append([os.readlink(f'/proc/1/fd/{fd}'), int(flags, 8)])\n"
        "    except FileNotFoundError:\n"
        "        pass\n"
        "print(json.dumps(found))",
    )
    written = {path for path, flags in opened if flags & WRITE_MODES}
    assert written, "a node holds its log and its lock open"
    assert all(path.startswith("/var/lib/raft/") for path in written)


def test_the_volume_holds_the_identity_and_the_log(node, node_name):
    folder = "/var/lib/raft/data"
    identity = json.loads(node.file(f"{folder}/identity.json").content_string)
    names = set(node.file(folder).listdir())
    assert identity["node_id"] == node_name
    assert {"identity.json", "LOCK"} < names
    assert any(name.startswith("wal") for name in names)


def test_files_of_the_volume_are_the_nodes_own(node):
    assert node.check_output("find /var/lib/raft/data ! -user 10001") == ""
    assert node.check_output("find /var/lib/raft/data -perm -o+w") == ""


def test_the_volume_is_a_claim_that_outlives_the_pod(lab, node_name):
    claim = lab.get("pvc", f"data-{node_name}")
    assert claim["status"]["phase"] == "Bound"
    assert "ownerReferences" not in claim["metadata"]


def test_a_node_has_its_own_secret_and_no_other_nodes(node, node_name):
    folders = ("/etc/raft-keys", "/etc/raft/own")
    secrets = {name for folder in folders for name in node.file(folder).listdir() if name.endswith(".secret")}
    assert secrets == {"service.secret", f"peer.{node_name}.secret"}


def test_keys_are_not_for_others(node):
    assert node.check_output("find /etc/raft-keys /etc/raft/own -type f -perm /007") == ""


def test_no_token_of_the_api_server_is_in_the_pod(node):
    assert not node.file("/var/run/secrets/kubernetes.io").exists


def test_no_key_is_in_the_environment_or_the_arguments(node):
    secret = node.file("/etc/raft-keys/service.secret").content_string.strip()
    assert secret not in node.check_output("cat /proc/1/environ /proc/1/cmdline | tr '\\0' '\\n'")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_the_probes_say_yes(node, path):
    status, body = get(node, path)
    assert status == 200, body


def test_an_unknown_page_is_not_found(node):
    assert get(node, "/nothing")[0] == 404


def test_metrics_are_there_for_prometheus(node):
    status, body = get(node, "/metrics")
    assert status == 200
    assert "# TYPE raft_" in body


def test_status_names_the_node_and_its_members(node, node_name):
    status = json.loads(get(node, "/status")[1])
    assert status["node_id"] == node_name
    assert set(NODES) <= {*status["voters"], *status["learners"]}


def test_all_nodes_name_one_leader_and_only_that_one_says_it_leads(lab):
    statuses = [json.loads(get(lab.container(name, "raft"), "/status")[1]) for name in NODES]
    (leader,) = {status["leader_id"] for status in statuses}
    assert leader
    for status in statuses:
        assert (status["role"] == "leader") == (status["node_id"] == leader), status


def test_the_service_has_every_ready_node_behind_it(lab):
    slices = json.loads(
        lab.kubectl("get", "endpointslices", "--selector=kubernetes.io/service-name=service-raft", "--output=json")
    )
    behind = {endpoint["targetRef"]["name"] for part in slices["items"] for endpoint in part["endpoints"]}
    assert set(NODES) <= behind


def test_the_nodes_log_is_json_line_by_line(lab, node_name):
    lines = lab.kubectl("logs", node_name, "--container=raft").splitlines()
    events = [json.loads(line) for line in lines]
    assert {"ts", "level", "event", "node", "term"} <= set(events[0])
    assert {event["node"] for event in events} == {node_name}
    assert "node_started" in {event["event"] for event in events}
