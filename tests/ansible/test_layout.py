"""The playbooks are a table of contents, and a role says what it takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.conftest import ROOT

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").iterdir())


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_site_imports_the_steps_in_order_and_does_nothing_else() -> None:
    site = load(ROOT / "site.yml")
    assert [play["ansible.builtin.import_playbook"] for play in site] == [
        f"playbooks/{step}.yml"
        for step in ("preflight", "build", "cluster", "deploy", "scenario", "collect_logs", "validate")
    ]
    assert all(set(play) <= {"name", "ansible.builtin.import_playbook", "vars"} for play in site)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_leaves_the_work_to_roles(playbook: str) -> None:
    def modules(tasks: list[dict[str, Any]]) -> set[str]:
        found = set()
        for task in tasks:
            for part in ("block", "rescue", "always"):
                found |= modules(task.get(part, []))
            found |= {name for name in task if "." in name}
        return found

    (only_play,) = load(ROOT / "playbooks" / playbook)
    own_work = modules(only_play["tasks"]) - {"ansible.builtin.include_role"}
    assert own_work <= ({"ansible.builtin.file"} if playbook == "destroy.yml" else set())


@pytest.mark.parametrize("role", ROLES)
def test_every_default_of_a_role_is_prefixed_and_specified(role: str) -> None:
    defaults = load(ROOT / "roles" / role / "defaults" / "main.yml")
    specification = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert all(name.startswith(f"{role}_") for name in defaults)
    assert set(defaults) == set(specification)


@pytest.mark.parametrize("role", ROLES)
def test_the_specification_repeats_the_defaults(role: str) -> None:
    defaults = load(ROOT / "roles" / role / "defaults" / "main.yml")
    specification = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    for name, option in specification.items():
        assert option.get("default", defaults[name]) == defaults[name], name


def test_the_inventory_wires_no_variable_that_no_role_takes() -> None:
    wiring = load(ROOT / "inventory" / "group_vars" / "lab" / "wiring.yml")
    taken = {name for role in ROLES for name in load(ROOT / "roles" / role / "defaults" / "main.yml")}
    own = {"lab_root", "lab_build_dir", "lab_local_dir", "lab_artifacts_dir", "lab_tools_dir", "lab_path"}
    assert set(wiring) - own <= taken
