"""Which resources there are, and what all of them have in common."""

import tomllib

import kubernetes_validate
import pytest
import yaml

from tests.chart.conftest import CHART, NAMESPACE, ROOT
from tests.chart.value_sets import VALUE_SETS

KUBERNETES_VERSIONS = ("1.27", "1.34")  # the oldest the chart is for, and the lab's own

SERVERS = {
    ("ConfigMap", "raft"),
    ("NetworkPolicy", "raft"),
    ("PodDisruptionBudget", "raft"),
    ("Service", "raft-headless"),
    ("Service", "service-raft"),
    ("ServiceAccount", "raft"),
    ("StatefulSet", "raft"),
}
CLIENT = {("Pod", "client"), ("Service", "client")}
CLIENT_CONFIG = {("ConfigMap", "client")}
KEYS_HOOK = {(kind, "raft-keys") for kind in ("Job", "Role", "RoleBinding", "ServiceAccount")}
HELM_TEST = {("Pod", "raft-test")}


def test_by_default_there_are_the_servers_a_client_a_hook_that_makes_keys_and_a_test(render):
    assert set(render()) == SERVERS | CLIENT | CLIENT_CONFIG | KEYS_HOOK | HELM_TEST


@pytest.mark.parametrize("auth", [{"mode": "none"}, {"existingSecret": "our-keys"}])
def test_no_hook_runs_where_no_keys_are_to_be_made(render, auth):
    assert set(render({"auth": auth})) == SERVERS | CLIENT | CLIENT_CONFIG | HELM_TEST


def test_without_the_client_its_config_stays_for_the_test(render):
    assert set(render({"client": {"enabled": False}})) == SERVERS | CLIENT_CONFIG | KEYS_HOOK | HELM_TEST


def test_the_admin_pod_is_there_only_when_asked_for(render):
    more = set(render({"admin": {"enabled": True}})) - set(render())
    assert more == {("Deployment", "raft-admin")}


def test_the_network_policy_can_be_left_out(render):
    assert ("NetworkPolicy", "raft") not in render({"networkPolicy": {"enabled": False}})


@pytest.mark.parametrize(("release", "stem"), [("raft", "raft"), ("my-raft", "my-raft"), ("ledger", "ledger-raft")])
def test_names_start_with_the_release_and_say_raft_once(render, release, stem):
    manifests = render(release=release)
    assert {("StatefulSet", stem), ("Service", f"service-{stem}"), ("Service", f"{stem}-headless")} <= set(manifests)


def test_a_long_release_name_leaves_room_for_the_pods_number_in_a_dns_label(render):
    longest = max(len(name) for _, name in render(release="r" * 53))
    assert longest <= 63 - len("-98")


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_manifest_is_what_kubernetes_takes(render, values, version):
    for manifest in render(values).values():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_every_resource_says_its_namespace_and_its_labels(render, values):
    for key, manifest in render(values).items():
        labels = manifest["metadata"]["labels"]
        assert manifest["metadata"]["namespace"] == NAMESPACE, key
        assert labels["app.kubernetes.io/instance"] == "raft", key
        assert labels["app.kubernetes.io/component"] in ("server", "client", "keys", "test", "admin"), key


def test_what_an_upgrade_cannot_change_holds_no_version_of_the_chart(render):
    stateful_set = render()["StatefulSet", "raft"]["spec"]
    fixed = [stateful_set["selector"], stateful_set["volumeClaimTemplates"], stateful_set["template"]["metadata"]]
    assert not any(word in yaml.safe_dump(fixed) for word in ("helm.sh/chart", "app.kubernetes.io/version"))


def test_services_budget_and_policy_select_the_servers_and_nothing_else(render):
    manifests = render()
    servers = manifests["StatefulSet", "raft"]["spec"]["selector"]["matchLabels"]
    assert manifests["Service", "service-raft"]["spec"]["selector"] == servers
    assert manifests["Service", "raft-headless"]["spec"]["selector"] == servers
    assert manifests["PodDisruptionBudget", "raft"]["spec"]["selector"]["matchLabels"] == servers
    assert manifests["NetworkPolicy", "raft"]["spec"]["podSelector"]["matchLabels"] == servers
    others = [
        manifests["Pod", "client"],
        manifests["Pod", "raft-test"],
        manifests["Job", "raft-keys"]["spec"]["template"],
    ]
    for pod in others:
        assert not servers.items() <= pod["metadata"]["labels"].items(), pod["metadata"]


def test_the_budget_lets_one_node_go_at_a_time(render):
    assert render()["PodDisruptionBudget", "raft"]["spec"]["maxUnavailable"] == 1


def test_one_template_holds_one_resource():
    for template in (CHART / "templates").rglob("*.yaml"):
        kinds = [line for line in template.read_text().splitlines() if line.startswith("kind:")]
        assert len(kinds) == (0 if template.name == "validate.yaml" else 1), template.name


def test_wheel_chart_and_images_have_one_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    in_dockerfile = {line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("ARG VERSION=")}
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert in_dockerfile == {f"ARG VERSION={version}"}
