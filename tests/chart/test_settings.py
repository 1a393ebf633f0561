"""The chart's values arrive as settings that the node takes: checked with the node's own reader."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from raft_zmq import settings
from raft_zmq.core.membership import Member
from raft_zmq.settings import Settings
from tests.chart.conftest import CHART, NAMESPACE, Manifests
from tests.chart.value_sets import VALUE_SETS

# What the chart decides, from the names of its resources and its own values elsewhere.
DECIDED_BY_THE_CHART = {
    "node_id", "members", "join", "data_dir", "bind_host", "client_port", "peer_port", "http_port", "auth", "keys_dir",
    "own_key_dir",
}  # fmt: skip


def loaded(manifests: Manifests, tmp_path: Path, *, key: str = "founder.yaml", node_id: str = "raft-0") -> Settings:
    """The settings of a node as it reads them in its pod."""
    file = tmp_path / "raft.yaml"
    file.write_text(manifests["ConfigMap", node_id.rpartition("-")[0]]["data"][key])
    return settings.load({}, {"RAFT_NODE_ID": node_id}, file)


def values_path(setting: str) -> tuple[str, ...]:
    """heartbeat_interval_s → heartbeatIntervalSeconds; election_timeout_s_min → electionTimeoutSeconds, min."""
    stem, _, end = setting.rpartition("_s_")
    words = (f"{stem}_seconds" if stem else setting.removesuffix("_s") + "_seconds" * setting.endswith("_s")).split("_")
    name = words[0] + "".join(word.capitalize() for word in words[1:])
    return (name, end) if stem else (name,)


def values_of_the_chart() -> dict[str, Any]:
    return yaml.safe_load((CHART / "values.yaml").read_text())["raft"]


def at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


TUNABLE = sorted(set(Settings.__struct_fields__) - DECIDED_BY_THE_CHART)


@pytest.mark.parametrize("setting", TUNABLE)
def test_every_setting_is_a_value_and_has_the_nodes_own_default(setting):
    default = {field.name: field.default for field in msgspec.structs.fields(Settings)}[setting]
    assert at(values_of_the_chart(), values_path(setting)) == default, (
        f"{setting}: expected raft.{'.'.join(values_path(setting))} = {default!r} in chart/values.yaml, "
        "and its description in chart/values.schema.json"
    )


def test_no_value_is_without_a_setting():
    known = {values_path(setting)[0] for setting in TUNABLE}
    assert set(values_of_the_chart()) == known


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
@pytest.mark.parametrize("number", [0, 2])
def test_a_founder_takes_its_settings(render, tmp_path, values, number):
    node_id = f"{values.get('fullnameOverride', 'raft')}-{number}"
    found = loaded(render(values), tmp_path, node_id=node_id)
    assert found.node_id in {member.node_id for member in found.first_members()}


def test_a_value_set_by_hand_arrives_in_the_node(render, tmp_path):
    raft = {"electionTimeoutSeconds": {"min": 1, "max": 2.5}, "snapshotLogBytes": 123456789, "preVote": False}
    found = loaded(render({"raft": raft}), tmp_path)
    assert (found.election_timeout_s_min, found.election_timeout_s_max) == (1, 2.5)
    assert (found.snapshot_log_bytes, found.pre_vote) == (123456789, False)


def test_a_cluster_id_that_looks_like_a_number_stays_text(render, tmp_path):
    assert loaded(render({"raft": {"clusterId": "007"}}), tmp_path).cluster_id == "007"


def test_members_are_the_pods_by_their_stable_names(render, tmp_path):
    members = loaded(render(), tmp_path).first_members()
    host = f"raft-{{}}.raft-headless.{NAMESPACE}.svc.cluster.local"
    assert members == tuple(
        Member(f"raft-{number}", f"{host.format(number)}:6001", f"{host.format(number)}:6000") for number in range(3)
    )


def test_ports_are_the_same_in_settings_pods_and_services(render, tmp_path):
    manifests = render({"ports": {"client": 7000, "peer": 7001, "http": 7080}})
    found = loaded(manifests, tmp_path)
    container = manifests["StatefulSet", "raft"]["spec"]["template"]["spec"]["containers"][0]
    ports = {"client": 7000, "peer": 7001, "http": 7080}
    assert {"client": found.client_port, "peer": found.peer_port, "http": found.http_port} == ports
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == ports
    assert {port["name"]: port["port"] for port in manifests["Service", "raft-headless"]["spec"]["ports"]} == ports
    # Clients are told port 6000, whatever the nodes listen on.
    assert manifests["Service", "service-raft"]["spec"]["ports"] == [
        {"name": "client", "port": 6000, "targetPort": "client"}
    ]


def test_a_pod_that_comes_later_waits_to_be_added(render, tmp_path):
    joiner = loaded(render({"replicas": 5, "initialMembers": 3}), tmp_path, key="joiner.yaml", node_id="raft-3")
    assert joiner.join
    assert joiner.first_members() == ()


def test_a_cluster_that_is_there_can_have_fewer_nodes_than_founded_it(render):
    before, after = render({"replicas": 5}), render({"replicas": 3, "initialMembers": 5}, upgrade=True)
    assert after["StatefulSet", "raft"]["spec"]["replicas"] == 3
    assert after["ConfigMap", "raft"] == before["ConfigMap", "raft"]


def test_growing_restarts_no_node(render):
    """The pod template stays the same to the letter."""
    before = render()["StatefulSet", "raft"]["spec"]
    after = render({"replicas": 5, "initialMembers": 3})["StatefulSet", "raft"]["spec"]
    assert (before["replicas"], after["replicas"]) == (3, 5)
    assert before["template"] == after["template"]


def test_a_changed_setting_restarts_the_nodes(render):
    checksums = {
        render({"raft": {"logLevel": level}})["StatefulSet", "raft"]["spec"]["template"]["metadata"]["annotations"][
            "checksum/config"
        ]
        for level in ("info", "debug")
    }
    assert len(checksums) == 2


@pytest.mark.parametrize("setting", TUNABLE)
def test_the_schema_has_the_bounds_of_the_nodes_own_reader(setting):
    bounds = {"enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"}
    own = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"][setting]
    part = json.loads((CHART / "values.schema.json").read_text())["properties"]["raft"]
    for name in values_path(setting):
        part = part["properties"][name]
    assert {name: sorted(part[name]) if name == "enum" else part[name] for name in bounds & set(part)} == {
        name: sorted(own[name]) if name == "enum" else own[name] for name in bounds & set(own)
    }
