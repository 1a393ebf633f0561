"""The client pod, its Service and its config, and the test that `helm test` runs."""

import pytest
import yaml

from raft_zmq.client import config
from raft_zmq.transport import keys
from tests.chart.conftest import NAMESPACE


@pytest.fixture
def pod(render):
    return render()["Pod", "client"]


def containers(pod):
    return {container["name"]: container for container in pod["spec"]["containers"]}


def test_the_client_runs_once(pod):
    assert pod["spec"]["restartPolicy"] == "Never"


def test_logs_of_the_pod_are_the_clients_unless_the_history_is_asked_for(pod):
    assert pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "client"
    assert list(containers(pod)) == ["client", "history"]


def test_the_history_container_follows_the_file_that_the_client_writes(pod):
    client, history = containers(pod).values()
    shared = {"name": "history", "mountPath": "/history"}
    assert client["args"][-2:] == ["--history", "/history/history.jsonl"]
    assert history["args"] == ["follow", "/history/history.jsonl", "--port", "8081"]
    assert shared in client["volumeMounts"]
    assert {**shared, "readOnly": True} in history["volumeMounts"]
    assert {"name": "history", "emptyDir": {}} in pod["spec"]["volumes"]


@pytest.mark.parametrize(
    "args",
    [
        ["bench", "--clients", "4", "--size", "256", "--seconds", "90", "--op", "write"],
        ["workload", "--clients", "4", "--keys", "5", "--seconds", "90", "--history", "/history/history.jsonl"],
        ["run", "--history", "/history/other.jsonl"],
    ],
    ids=" ".join,
)
def test_a_client_that_writes_no_history_there_or_does_not_say_when_it_ends_is_not_followed(render, args):
    pod = render({"client": {"args": args}})["Pod", "client"]
    assert list(containers(pod)) == ["client"]
    assert containers(pod)["client"]["args"] == args


def test_the_history_is_followed_however_its_option_is_written(render):
    args = ["run", "--config", "/etc/raft-client/client.yaml", "--history=/history/history.jsonl"]
    assert list(containers(render({"client": {"args": args}})["Pod", "client"])) == ["client", "history"]


def test_the_client_is_told_its_name_its_dns_name_and_its_port(pod):
    environment = {variable["name"]: variable["value"] for variable in containers(pod)["client"]["env"]}
    assert environment == {
        "CLIENT_NAME": "client",
        "CLIENT_DNS_NAME": f"client.{NAMESPACE}.svc.cluster.local",
        "CLIENT_PORT": "8081",
    }


def test_a_headless_service_gives_the_client_that_dns_name(render, pod):
    service = render()["Service", "client"]["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"], "the client is never ready before it has run"
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["ports"] == [{"name": "http", "port": 8081, "targetPort": "http"}]


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, {"auth": "curve", "keys_dir": "keys", "client_name": "lab"}),
        ({"client": {"keyName": "ops"}}, {"auth": "curve", "keys_dir": "keys", "client_name": "ops"}),
        ({"auth": {"mode": "none"}}, {"auth": "none"}),
    ],
)
def test_the_clients_config_names_the_service_and_where_its_keys_are(render, values, keys):
    content = yaml.safe_load(render(values)["ConfigMap", "client"]["data"]["client.yaml"])
    assert content == {"cluster_id": "raft", "endpoints": ["service-raft:6000"], **keys}


def test_the_client_library_takes_that_config_with_the_keys_beside_it(render, tmp_path):
    manifests = render()
    keys.generate(tmp_path / "all", ["raft-0"], {"lab": keys.Role.ADMIN})
    (volume,) = (v for v in manifests["Pod", "client"]["spec"]["volumes"] if v["name"] == "client-config")
    (tmp_path / "keys").mkdir()
    for item in volume["projected"]["sources"][1]["secret"]["items"]:
        (tmp_path / "all" / item["key"]).rename(tmp_path / item["path"])
    file = tmp_path / "client.yaml"
    file.write_text(manifests["ConfigMap", "client"]["data"]["client.yaml"])
    found = config.load(file)
    assert [str(endpoint) for endpoint in found.endpoints] == ["service-raft:6000"]
    assert found.keys is not None


def test_the_client_and_the_test_read_their_config_where_it_is_mounted(render, pod):
    for name in ("client", "raft-test"):
        pod = render()["Pod", name]
        (mount,) = (m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "client-config")
        arguments = " ".join(pod["spec"]["containers"][0]["args"])
        assert mount == {"name": "client-config", "mountPath": "/etc/raft-client", "readOnly": True}
        assert "--config /etc/raft-client/client.yaml" in arguments


def test_helm_test_runs_a_pod_that_the_network_policy_lets_through(render):
    test = render()["Pod", "raft-test"]["metadata"]
    assert test["annotations"]["helm.sh/hook"] == "test"
    assert test["labels"]["raft-client"] == "true"


def test_the_admin_pod_has_raftctl_config_and_a_way_through_the_network_policy(render):
    pod = render({"admin": {"enabled": True}})["Deployment", "raft-admin"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert {"name": "RAFTCTL_CONFIG", "value": "/etc/raft-client/client.yaml"} in container["env"]
    assert container["volumeMounts"] == [{"name": "client-config", "mountPath": "/etc/raft-client", "readOnly": True}]
    assert pod["metadata"]["labels"]["raft-client"] == "true"
