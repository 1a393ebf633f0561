"""The lab on kind after site.yml: gathering at any later time, and other people's work left alone."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.ansible.conftest import Play

Run = Callable[..., Play]

pytestmark = [pytest.mark.kind, pytest.mark.timeout(300)]
CONTEXT = "kind-raft-lab"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def kubectl(*arguments: str) -> str:
    return run("kubectl", f"--context={CONTEXT}", *arguments)


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes what `kind get clusters` takes for a cluster: a container with kind's labels that never runs."""
    image = kubectl("get", "pod", "raft-0", "--namespace=raft", "--output=jsonpath={.spec.containers[0].image}")
    made = []

    def make(name: str, **files: str) -> str:
        container = f"{name}-control-plane"
        labels = [f"--label=io.x-k8s.kind.cluster={name}", "--label=io.x-k8s.kind.role=control-plane"]
        run("docker", "create", *labels, f"--name={container}", image)
        made.append(container)
        for folder, content in files.items():
            source = tmp_path / container / folder
            source.mkdir(parents=True)
            (source / {"kind": "kubeadm.conf", "kubernetes": "admin.conf"}[folder]).write_text(content)
            run("docker", "cp", str(source), f"{container}:{'/etc/' if folder == 'kubernetes' else '/'}")
        return container

    yield make
    for container in made:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, timeout=60)


@pytest.fixture
def play_tasks(play: Run, tmp_path: Path) -> Callable[..., Play]:
    """Plays some tasks of a role, with variables of the lab."""

    def play_tasks(role: str, tasks: str, **extra: str) -> Play:
        task = {"name": tasks, "ansible.builtin.include_role": {"name": role, "tasks_from": tasks}}
        playbook = tmp_path / "tasks.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "lab", "gather_facts": False, "tasks": [task]}]))
        return play(str(playbook), **extra)

    return play_tasks


@pytest.fixture
def remove_cluster(play_tasks: Callable[..., Play]) -> Callable[[str], Play]:
    """Asks the role to remove the cluster of that name."""
    return lambda name: play_tasks("kind_cluster", "remove", lab_cluster_name=name)


def test_a_cluster_of_that_name_with_another_owner_is_left_alone(
    stand_in: Callable[..., str], remove_cluster: Callable[[str], Play]
) -> None:
    container = stand_in("raft-test-foreign", kind="node-labels: tier=web", kubernetes="in use")
    done = remove_cluster("raft-test-foreign")
    assert done.returncode == 2
    assert "expected none or one that the lab made, found somebody else's. It stays as it is." in done.error()
    assert container in run("docker", "ps", "--all", "--format={{.Names}}").split()


@pytest.mark.parametrize(
    "files",
    [{"kind": "node-labels: managed-by=raft-zmq-lab", "kubernetes": "in use"}, {}],
    ids=["one of the lab", "one that never came up"],
)
def test_an_older_lab_is_removed_even_when_it_is_half_finished(
    stand_in: Callable[..., str], remove_cluster: Callable[[str], Play], files: dict[str, str]
) -> None:
    container = stand_in("raft-test-older", **files)
    assert remove_cluster("raft-test-older").returncode == 0
    assert container not in run("docker", "ps", "--all", "--format={{.Names}}").split()


@pytest.fixture
def registry() -> Iterator[Callable[[], str]]:
    """Makes what has the mark of the lab's registry: a container that never runs."""
    name = "raft-test-registry"
    image = kubectl("get", "pod", "raft-0", "--namespace=raft", "--output=jsonpath={.spec.containers[0].image}")

    def make() -> str:
        run("docker", "create", "--label=app.kubernetes.io/managed-by=raft-zmq-lab", f"--name={name}", image)
        return name

    yield make
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, timeout=60)


def test_without_kind_all_but_the_cluster_is_removed(
    stand_in: Callable[..., str], registry: Callable[[], str], play: Run, tmp_path: Path
) -> None:
    cluster = stand_in("raft-test-older", kind="node-labels: managed-by=raft-zmq-lab", kubernetes="in use")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").symlink_to(str(shutil.which("docker")))
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    names = {"lab_cluster_name": "raft-test-older", "registry_name": registry(), "lab_registry_port": "5999"}
    folders = {"lab_build_dir": f"{tmp_path}/build", "lab_tools_dir": f"{tmp_path}/none"}
    (tmp_path / "build" / "wheelhouse").mkdir(parents=True)

    def destroy() -> Play:
        return play("playbooks/destroy.yml", environment=environment, lab_platform="kind", **names, **folders)

    done = destroy()
    assert done.returncode == 2
    assert "kind cluster raft-test-older: expected kind to remove it with, found none" in done.error()
    containers = run("docker", "ps", "--all", "--format={{.Names}}").split()
    assert cluster in containers
    assert names["registry_name"] not in containers
    assert list((tmp_path / "build").iterdir()) == []

    run("docker", "rm", cluster)
    assert destroy().returncode == 0, "without a cluster kind is not needed"


def test_kinds_network_stays_while_a_stopped_container_is_attached_to_it(play_tasks: Callable[..., Play]) -> None:
    image = kubectl("get", "pod", "raft-0", "--namespace=raft", "--output=jsonpath={.spec.containers[0].image}")
    name = "raft-test-network"

    def remove_network() -> bool:
        done = play_tasks("kind_cluster", "remove_network", kind_cluster_network=name)
        assert done.returncode == 0, done.output
        return name not in run("docker", "network", "ls", "--format={{.Name}}").split()

    run("docker", "network", "create", name)
    try:
        run("docker", "create", f"--network={name}", f"--name={name}", image)
        assert not remove_network()
        run("docker", "rm", name)
        assert remove_network()
    finally:
        subprocess.run(["docker", "rm", name], capture_output=True, timeout=60)
        subprocess.run(["docker", "network", "rm", name], capture_output=True, timeout=60)


def test_a_namespace_with_another_owner_is_left_alone(play: Run) -> None:
    kubectl("create", "namespace", "raft-test-foreign")
    try:
        done = play("playbooks/deploy.yml", lab_platform="kind", lab_namespace="raft-test-foreign", images_tag="any")
        assert done.returncode == 2
        assert "expected none or one that the lab made, found another one." in done.error()
        assert kubectl("get", "namespace", "raft-test-foreign", "--output=name").strip()
        image = kubectl("get", "pod", "raft-0", "--namespace=raft", "--output=jsonpath={.spec.containers[0].image}")
        kubectl("run", "client", "--namespace=raft-test-foreign", f"--image={image}", "--command", "sleep", "600")
        done = play("playbooks/scenario.yml", lab_platform="kind", lab_namespace="raft-test-foreign")
        assert done.returncode == 2
        assert "expected none or one that the lab made, found another one." in done.error()
        assert kubectl("get", "pod", "client", "--namespace=raft-test-foreign", "--output=name").strip()
    finally:
        kubectl("delete", "namespace", "raft-test-foreign")


def test_a_scenario_without_a_release_is_refused(play: Run) -> None:
    done = play("playbooks/scenario.yml", lab_platform="kind", lab_namespace="raft-test-nothing")
    assert done.returncode == 2
    assert "expected the release raft in namespace raft-test-nothing" in done.error()
    assert "ansible-playbook playbooks/deploy.yml" in done.error()


def test_gathering_without_a_release_is_refused_and_leaves_no_folder(play: Run, tmp_path: Path) -> None:
    artifacts = {"lab_artifacts_dir": f"{tmp_path}/artifacts"}
    done = play("playbooks/collect_logs.yml", lab_platform="kind", lab_namespace="raft-test-nothing", **artifacts)
    assert done.returncode == 2
    assert "expected pods of the release raft in namespace raft-test-nothing" in done.error()
    assert list(tmp_path.iterdir()) == []


def test_the_scenario_runs_again_where_a_plugin_of_helm_sees_no_difference(play: Run, tmp_path: Path) -> None:
    plugin = tmp_path / "diff" / "plugin.yaml"
    plugin.parent.mkdir()
    plugin.write_text(yaml.safe_dump({"name": "diff", "version": "3.9.12", "command": "true"}))
    of_client = ("get", "pod", "client", "--namespace=raft", "--ignore-not-found", "--output=jsonpath={.metadata.uid}")
    before = kubectl(*of_client)
    environment = {"HELM_PLUGINS": str(tmp_path)}
    done = play("playbooks/scenario.yml", environment=environment, lab_platform="kind", scenario_timeout_s="90")
    assert done.returncode == 0, done.output
    assert kubectl(*of_client) not in ("", before)


@pytest.fixture
def given_namespace() -> Iterator[str]:
    """A namespace of somebody's with a Secret in it, which the lab may use."""
    name = "raft-test-given"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, "used-by=raft-zmq-lab")
        kubectl("create", "secret", "generic", "theirs", f"--namespace={name}")
        yield name
    finally:
        kubectl("delete", "namespace", name)


def test_of_a_namespace_that_was_given_to_the_lab_only_the_release_is_removed(
    play: Run, tmp_path: Path, given_namespace: str
) -> None:
    def objects() -> set[str]:
        kinds = "secret,pvc,pod,job,role,rolebinding,serviceaccount,service,configmap,statefulset"
        return set(kubectl("get", kinds, f"--namespace={given_namespace}", "--output=name").split())

    before = objects()
    assert "secret/theirs" in before
    values = '{"image":{"pullSecrets":["theirs"]}}'
    lab = {"lab_namespace": given_namespace, "lab_nodes": "1", "lab_build_dir": str(tmp_path)}
    done = play("playbooks/deploy.yml", lab_platform="kind", lab_chart_values=values, **lab)
    assert done.returncode == 0, done.output
    assert objects() >= before | {"secret/raft-keys", "persistentvolumeclaim/data-raft-0", "pod/raft-0"}

    elsewhere = {"lab_platform": "kubernetes", "lab_kube_context": CONTEXT, "lab_registry": "registry.invalid"}
    assert play("playbooks/destroy.yml", **elsewhere, **lab).returncode == 0
    assert objects() == before


def test_logs_from_before_a_restart_are_gathered_too(play: Run, tmp_path: Path) -> None:
    restarts = "--output=jsonpath={.status.containerStatuses[0].restartCount}"
    before = int(kubectl("get", "pod", "raft-1", "--namespace=raft", restarts))
    kubectl("exec", "raft-1", "--namespace=raft", "--", "python", "-c", "import os; os.kill(1, 15)")
    kubectl(
        *("wait", "pod/raft-1", "--namespace=raft", "--timeout=60s"),
        f"--for=jsonpath={{.status.containerStatuses[0].restartCount}}={before + 1}",
    )
    kubectl("wait", "pod/raft-1", "--namespace=raft", "--timeout=60s", "--for=condition=Ready")

    done = play("playbooks/collect_logs.yml", lab_platform="kind", lab_artifacts_dir=str(tmp_path), lab_run_id="later")
    assert done.returncode == 0, done.output
    gathered = tmp_path / "latest"
    names = {path.name for path in gathered.iterdir()}
    assert names >= {"raft-0.log", "raft-1.log", "raft-2.log", "client.log", "history.jsonl", "cluster"}
    lines = [line[line.index("{") :] for line in (gathered / "raft-1.log").read_text().splitlines()]
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("node_started") == 2
    assert events.index("node_stopped") < len(events) - 1 - events[::-1].index("node_started")
    cluster = {path.name for path in (gathered / "cluster").iterdir()}
    assert cluster >= {"describe.txt", "events.txt", "nodes.txt", "values.yaml", "versions.yaml", "versions-helm.txt"}
    values = yaml.safe_load((gathered / "cluster" / "values.yaml").read_text().partition("\n")[2])
    assert values["replicas"] == 3
