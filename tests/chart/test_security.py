"""Pod Security `restricted`, tokens, and who may open a connection."""

import copy
from typing import Any

import pytest

from tests.chart.conftest import pod_spec
from tests.chart.value_sets import VALUE_SETS

RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
                      "secret"}  # fmt: skip


def violations(pod: dict[str, Any]) -> list[str]:
    """What the Pod Security Standard `restricted` has against a pod, and a root file system that can be written to."""
    found = [f"{name} is on" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    context = pod.get("securityContext", {})
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("no seccomp profile")
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        found.append("may run as root")
    for volume in pod.get("volumes", []):
        found += [f"volume of type {kind}" for kind in set(volume) - {"name"} - RESTRICTED_VOLUMES]
    for container in pod.get("initContainers", []) + pod["containers"]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("may gain privileges")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append("keeps capabilities")
        if not own.get("readOnlyRootFilesystem"):
            found.append("may write to its root file system")
        if own.get("privileged") or own.get("runAsUser") == 0:
            found.append("is privileged")
        found += ["uses a port of the machine" for port in container.get("ports", []) if port.get("hostPort")]
    return found


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_every_pod_is_restricted(render, values):
    pods = {key: pod for key, manifest in render(values).items() if (pod := pod_spec(manifest))}
    assert {key: violations(pod) for key, pod in pods.items()} == {key: [] for key in pods}


def test_the_check_sees_a_pod_that_is_not_restricted(render):
    pod = copy.deepcopy(render()["Pod", "client"]["spec"])
    pod["hostNetwork"] = True
    pod["volumes"].append({"name": "machine", "hostPath": {"path": "/"}})
    pod["containers"][1]["securityContext"] = {}
    del pod["securityContext"]
    assert violations(pod) == [
        "hostNetwork is on",
        "no seccomp profile",
        "may run as root",
        "volume of type hostPath",
        "may gain privileges",
        "keeps capabilities",
        "may write to its root file system",
    ]


def test_only_the_hook_gets_a_token_of_the_api_server(render):
    with_token = [
        key for key, manifest in render().items()
        if (pod := pod_spec(manifest)) and pod["automountServiceAccountToken"]
    ]  # fmt: skip
    assert with_token == [("Job", "raft-keys")]
    assert render()["ServiceAccount", "raft"]["automountServiceAccountToken"] is False


@pytest.fixture
def policy(render):
    return render()["NetworkPolicy", "raft"]["spec"]


def sources(rules, port):
    """Who is let in to a port; None is everyone."""
    (rule,) = (rule for rule in rules if [p["port"] for p in rule["ports"]] == [port])
    return rule.get("from")


def test_only_nodes_reach_the_peer_port(policy):
    assert sources(policy["ingress"], "peer") == [{"podSelector": policy["podSelector"]}]


def test_the_client_port_takes_the_client_and_pods_with_the_label(policy, render):
    client, labelled = sources(policy["ingress"], "client")
    assert client["podSelector"]["matchLabels"].items() <= render()["Pod", "client"]["metadata"]["labels"].items()
    assert labelled == {"podSelector": {"matchLabels": {"raft-client": "true"}}}


def test_more_clients_can_be_let_in(render):
    shop = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
    policy = render({"networkPolicy": {"clients": [shop]}})["NetworkPolicy", "raft"]["spec"]
    assert sources(policy["ingress"], "client")[2:] == [shop]


def test_metrics_are_for_everyone_unless_limited(policy, render):
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    limited = render({"networkPolicy": {"http": [monitoring]}})["NetworkPolicy", "raft"]["spec"]
    assert sources(policy["ingress"], "http") is None
    assert sources(limited["ingress"], "http") == [monitoring]


def test_a_node_calls_its_peers_and_the_dns_and_nobody_else(policy):
    to_peers, to_dns = policy["egress"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert to_peers["to"] == [{"podSelector": policy["podSelector"]}]
    assert {port["port"] for port in to_dns["ports"]} == {53}
