"""The nodes' StatefulSet and its Services."""

import pytest


@pytest.fixture
def stateful_set(render):
    return render()["StatefulSet", "raft"]["spec"]


@pytest.fixture
def pod(stateful_set):
    return stateful_set["template"]["spec"]


@pytest.fixture
def container(pod):
    (container,) = pod["containers"]
    return container


def test_peers_find_each_other_before_they_are_ready(render):
    peers = render()["Service", "raft-headless"]["spec"]
    assert peers["publishNotReadyAddresses"], "no pod is ready before the first election has a winner"
    assert peers["clusterIP"] == "None"


def test_clients_are_sent_to_ready_nodes_only(render):
    assert "publishNotReadyAddresses" not in render()["Service", "service-raft"]["spec"]


def test_pods_start_together_because_none_is_ready_alone(stateful_set):
    assert stateful_set["podManagementPolicy"] == "Parallel"
    assert stateful_set["serviceName"] == "raft-headless"


def test_volumes_outlive_the_stateful_set_and_a_smaller_number_of_replicas(stateful_set):
    assert stateful_set["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_the_log_is_on_a_volume_of_the_pods_own(stateful_set, container):
    (claim,) = stateful_set["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert mounts["data"] == "/var/lib/raft"


def test_the_storage_class_is_the_clusters_unless_named(render):
    def claim(storage):
        return render({"storage": storage})["StatefulSet", "raft"]["spec"]["volumeClaimTemplates"][0]["spec"]

    assert "storageClassName" not in claim({})
    assert claim({"className": "fast"})["storageClassName"] == "fast"
    assert claim({"size": "10Gi"})["resources"]["requests"]["storage"] == "10Gi"


def test_a_pod_lives_while_its_loop_turns_and_is_ready_when_it_knows_a_leader(container):
    paths = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_a_node_has_time_to_read_its_log_before_it_is_called_dead(container):
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_a_node_is_not_throttled(container):
    assert "cpu" not in container["resources"]["limits"], "a throttled leader misses its heartbeats"


def test_kubernetes_adds_no_variables_that_look_like_settings(pod):
    assert pod["enableServiceLinks"] is False


def test_nodes_keep_apart_where_they_can(pod):
    constraints = {item["topologyKey"]: item["whenUnsatisfiable"] for item in pod["topologySpreadConstraints"]}
    assert constraints == {
        "kubernetes.io/hostname": "ScheduleAnyway",
        "topology.kubernetes.io/zone": "ScheduleAnyway",
    }


def test_a_node_takes_its_settings_from_the_file_of_its_own_pod(pod, container):
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert container["args"] == ["--config", "/etc/raft/raft.yaml"]
    assert mounts["config"]["mountPath"] == "/etc/raft"
    assert mounts["config"]["subPathExpr"] == "$(POD_NAME)"
    assert {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in container["env"]


def test_founders_and_joiners_get_their_own_settings_file(render):
    pod = render({"replicas": 5, "initialMembers": 3})["StatefulSet", "raft"]["spec"]["template"]["spec"]
    (config,) = (volume for volume in pod["volumes"] if volume["name"] == "config")
    files = {item["path"]: item["key"] for item in config["projected"]["sources"][0]["configMap"]["items"]}
    assert files == {f"raft-{i}/raft.yaml": "founder.yaml" if i < 3 else "joiner.yaml" for i in range(7)}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "ghcr.io/raft-zmq/raft-zmq-server:0.1.0"),
        ({"registry": "localhost:5001", "tag": "src-1"}, "localhost:5001/raft-zmq-server:src-1"),
        ({"registry": "localhost:5001", "server": {"repository": "node"}}, "localhost:5001/node:0.1.0"),
    ],
)
def test_the_image_comes_from_registry_repository_and_tag(render, image, expected):
    (container,) = render({"image": image})["StatefulSet", "raft"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == expected


def test_what_the_user_asks_of_the_scheduler_reaches_the_pod(render):
    wishes = {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "priorityClassName": "important",
    }
    pod = render(wishes)["StatefulSet", "raft"]["spec"]["template"]["spec"]
    assert {name: pod[name] for name in wishes} == wishes
