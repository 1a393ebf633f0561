"""What the chart is given: the lab's own settings, over them the user's, and the client left to the scenario."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.conftest import ROOT, Play

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def values(play: Callable[..., Play], tmp_path: Path) -> Values:
    """The values for the chart that follow from some variables of the lab, given as `-e name=value`."""

    def values(**extra: str) -> dict[str, Any]:
        copy = {"content": "{{ raft_release_chart_values | to_json }}", "dest": f"{tmp_path}/values.json"}
        show = {
            "hosts": "lab",
            "gather_facts": False,
            "vars_files": [str(ROOT / "roles" / "raft_release" / "vars" / "main.yml")],
            "tasks": [{"name": "Write the values", "ansible.builtin.copy": copy}],
        }
        playbook = tmp_path / "values.yml"
        playbook.write_text(yaml.safe_dump([show]))
        done = play(str(playbook), lab_platform_registry="registry:5000", images_tag="src-1", **extra)
        assert done.returncode == 0, done.output
        found: dict[str, Any] = json.loads((tmp_path / "values.json").read_text())
        return found

    return values


def test_values_that_come_as_text_go_over_the_labs_own(values: Values) -> None:
    given = {"replicas": 5, "image": {"pullPolicy": "Always"}}
    assert values(lab_chart_values=json.dumps(given, separators=(",", ":"))) == {
        "replicas": 5,
        "maxNodes": 7,
        "image": {"registry": "registry:5000", "tag": "src-1", "pullPolicy": "Always"},
        "client": {"enabled": False},
    }


def test_there_is_room_for_as_many_nodes_as_the_lab_has(values: Values) -> None:
    found = values(lab_nodes="9")
    assert (found["replicas"], found["maxNodes"]) == (9, 9)


def test_the_client_stays_the_scenarios(values: Values) -> None:
    found = values(lab_chart_values='{"client":{"enabled":true,"port":8082}}')
    assert found["client"] == {"enabled": False, "port": 8082}
