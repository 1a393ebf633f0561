"""Wrong values are refused, by the schema one by one and by validate.yaml where several belong together."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.conftest import CHART

# Objects whose keys are the user's own, or Kubernetes' and checked by it.
OPEN = {"global", "nodeAffinity", "podAffinity", "podAntiAffinity"}
TEXT_MAPS = {"annotations", "podAnnotations", "podLabels", "nodeSelector", "matchLabels"}


@pytest.mark.parametrize(
    ("values", "place", "reason"),
    [
        ({"replicaCount": 3}, "''", "additional properties 'replicaCount' not allowed"),
        ({"raft": {"electionTimeout": 1}}, "/raft", "additional properties 'electionTimeout' not allowed"),
        ({"replicas": 0}, "/replicas", "minimum"),
        ({"replicas": "three"}, "/replicas", "want integer"),
        ({"replicas": None}, "''", "missing property 'replicas'"),
        ({"raft": {"heartbeatIntervalSeconds": 0}}, "/raft/heartbeatIntervalSeconds", "exclusiveMinimum"),
        ({"raft": {"preVote": "yes"}}, "/raft/preVote", "want boolean"),
        ({"raft": {"logLevel": "loud"}}, "/raft/logLevel", "must be one of"),
        ({"raft": {"clusterId": ""}}, "/raft/clusterId", "minLength"),
        ({"auth": {"mode": "tls"}}, "/auth/mode", "must be one of"),
        ({"storage": {"size": "big"}}, "/storage/size", "pattern"),
        ({"resources": {"limits": {"memory": "1GB"}}}, "/resources/limits/memory", "pattern"),
        ({"resources": {"limits": {"ram": "1Gi"}}}, "/resources/limits", "additional properties 'ram' not allowed"),
        ({"securityContext": {"userId": 0}}, "/securityContext/userId", "minimum"),
        ({"ports": {"client": 80}}, "/ports/client", "minimum"),
        ({"image": {"registry": "example.org/"}}, "/image/registry", "pattern"),
        ({"image": {"tag": "a b"}}, "/image/tag", "pattern"),
        ({"service": {"type": "ExternalName"}}, "/service/type", "must be one of"),
        ({"networkPolicy": {"clients": [{}]}}, "/networkPolicy/clients/0", "minProperties"),
        ({"tolerations": [{"effect": "Never"}]}, "/tolerations/0/effect", "must be one of"),
        ({"client": {"args": "run"}}, "/client/args", "want array"),
        ({"client": {"name": "Client"}}, "/client/name", "pattern"),
    ],
    ids=json.dumps,
)
def test_the_schema_refuses(refusal, values, place, reason):
    message = refusal(values)
    assert f"at '{place.strip(chr(39))}'" in message
    assert reason in message


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"raft": {"electionTimeoutSeconds": {"min": 0.1}}},
            "raft.electionTimeoutSeconds.min: expected at least 3 x raft.heartbeatIntervalSeconds = 0.225, found 0.1.",
        ),
        (
            {"raft": {"electionTimeoutSeconds": {"min": 2, "max": 1}}},
            "raft.electionTimeoutSeconds.max: expected at least raft.electionTimeoutSeconds.min = 2, found 1.",
        ),
        ({"raft": {"leaseReads": True, "checkQuorum": False}}, "raft.leaseReads: expected raft.checkQuorum to be true"),
        (
            {"raft": {"appendBytesMax": 20905985}},
            "raft.appendBytesMax: expected at most raft.frameBytesMax less 65536 = 20905984, so that it fits",
        ),
        (
            {"client": {"name": "raft"}},
            "client.name: expected another name than that of the nodes' StatefulSet, found raft",
        ),
        ({"replicas": 8}, "replicas: expected at most maxNodes = 7, found 8."),
        ({"initialMembers": 8}, "initialMembers: expected at most maxNodes = 7, found 8."),
        ({"initialMembers": 5}, "initialMembers: expected at most replicas = 3 in a new installation, found 5."),
        ({"initialMembers": 5}, "If the cluster is there already, render with `helm template --is-upgrade`."),
        (
            {"auth": {"mode": "none", "existingSecret": "keys"}},
            "auth.existingSecret: expected auth.mode=curve with it, found none.",
        ),
        ({"ports": {"http": 6001}}, "expected a port of its own, found 6001"),
    ],
    ids=json.dumps,
)
def test_values_that_do_not_go_together_are_refused_with_what_to_do(refusal, values, line):
    assert line in refusal(values)


def test_three_heartbeats_are_just_enough(render):
    """0.15 = 3 x 0.05, although not in binary floating point."""
    assert render({"raft": {"heartbeatIntervalSeconds": 0.05, "electionTimeoutSeconds": {"min": 0.15}}})


def schema() -> dict[str, Any]:
    return json.loads((CHART / "values.schema.json").read_text())


def properties(part: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property with its path, through objects, arrays and definitions."""
    for name, child in {**part.get("properties", {}), **part.get("definitions", {})}.items():
        yield f"{path}.{name}".strip("."), child
        yield from properties(child, f"{path}.{name}")
    if "items" in part:
        yield from properties(part["items"], f"{path}[]")


def test_the_schema_is_a_schema_of_draft_7():
    jsonschema.Draft7Validator.check_schema(schema())
    assert schema()["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    ("path", "part"), list(properties(schema())), ids=lambda part: part if isinstance(part, str) else ""
)
def test_every_property_is_described_and_refuses_unknown_keys(path, part):
    assert part.get("description"), f"{path} has no description"
    name = path.rpartition(".")[2]
    if part.get("type") == "object" and name not in OPEN:
        expected = {"type": "string"} if name in TEXT_MAPS else False
        assert part.get("additionalProperties") == expected, f"{path} takes unknown keys"


def test_every_default_is_in_the_schema_and_every_value_of_the_schema_has_a_default():
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema()["properties"]) - {"global"} == set(defaults)
    for name in ("raft", "client", "image", "auth", "storage", "ports", "networkPolicy"):
        assert set(schema()["properties"][name]["properties"]) == set(defaults[name]), name


def test_helm_finds_nothing_to_mend(helm):
    done = subprocess.run([helm, "lint", "--strict", str(CHART)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
