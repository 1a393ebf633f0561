"""The images' tag follows from the sources: the same ones give the same tag, and any change another."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.ansible.conftest import Play

Run = Callable[..., Play]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    sources = tmp_path / "sources"
    for name in ("raft_zmq/core/log.py", "client/cli.py", "Dockerfile", "setup.py"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text(f"# {name}\n")
    (sources / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    return sources


@pytest.fixture
def tags(play: Run, sources: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The tags after each of some changes to the sources, in one run of Ansible with a task for each."""

    def tags(*changes: str) -> list[str]:
        tasks: list[dict[str, object]] = []
        for change in (":", *changes):
            shell = {"cmd": change, "chdir": str(sources)}
            tasks.append({"ansible.builtin.shell": shell})
            tasks.append({"ansible.builtin.include_role": {"name": "images", "tasks_from": "tag"}})
            tasks.append({"ansible.builtin.debug": {"msg": "tag={{ images_tag }} version={{ images_version }}"}})
        playbook = tmp_path / "tags.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "lab", "gather_facts": False, "tasks": tasks}]))
        done = play(str(playbook), images_source_dir=str(sources), images_registry="any", images_architecture="amd64")
        assert done.returncode == 0, done.output
        assert set(re.findall(r"version=(\S+)", done.output)) == {"1.2.3"}
        return re.findall(r"tag=(src-[0-9a-f]{12}) ", done.output)

    return tags


def test_a_changed_a_new_and_a_renamed_file_each_give_another_tag(tags: Callable[..., list[str]]) -> None:
    found = tags(
        "echo changed >> client/cli.py",
        "touch raft_zmq/new.py",
        "mv raft_zmq/new.py raft_zmq/newer.py",
        "echo >> Dockerfile",
        "echo >> setup.py",
    )
    assert len(found) == 6
    assert len(set(found)) == 6


def test_what_no_image_is_made_from_changes_no_tag(tags: Callable[..., list[str]]) -> None:
    found = tags("mkdir tests && touch tests/test_x.py", "mkdir client/__pycache__ && touch client/__pycache__/cli.pyc")
    assert len(found) == 3
    assert len(set(found)) == 1
