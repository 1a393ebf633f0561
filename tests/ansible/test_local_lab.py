"""The whole lab on the local platform: real node processes, the real client, the logs gathered and judged."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ansible.conftest import Play

Run = Callable[..., Play]


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command_line.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


@pytest.fixture
def lab(tmp_path: Path) -> dict[str, str]:
    """A lab with folders of its own, so that one that stands in the checkout is left alone."""
    return {
        "lab_platform": "local",
        "lab_build_dir": str(tmp_path / "build"),
        "lab_artifacts_dir": str(tmp_path / "artifacts"),
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_lab_runs_gathers_judges_and_leaves_nothing_running(play: Run, lab: dict[str, str], tmp_path: Path) -> None:
    texts = {"lab_nodes": "3", "scenario_timeout_s": "150", "scenario_lines_shown": "1"}  # as on a command line
    done = play("site.yml", timeout_s=200, lab_run_id="first", **texts, **lab)
    assert done.returncode == 0, done.output
    assert "RESULT: passed" in done.output
    assert "Step 12" not in done.output
    gathered = tmp_path / "artifacts" / "latest"
    assert gathered.readlink() == Path("first")
    assert {path.name for path in gathered.iterdir()} >= {
        *(f"{name}.log" for name in ("raft-0", "raft-1", "raft-2", "client")),
        *("history.jsonl", "verdict.json", "report.html", "cluster"),
    }
    assert all(path.stat().st_size > 0 for path in gathered.iterdir() if path.is_file())
    assert json.loads((gathered / "verdict.json").read_text())
    assert processes_in(tmp_path / "build") == []

    story = (tmp_path / "build" / "local" / "client.log").read_bytes()
    ended = play("playbooks/scenario.yml", **lab)
    assert ended.returncode == 2
    assert "expected running nodes in" in ended.error()
    assert (tmp_path / "build" / "local" / "client.log").read_bytes() == story

    for playbook in ("site.yml", "playbooks/collect_logs.yml"):
        mixed = play(playbook, lab_run_id="first", **lab)
        assert mixed.returncode == 2
        assert "lab_run_id: expected a name that no earlier run has, found" in mixed.error()
        assert "changed=0" in mixed.output

    again = play("playbooks/collect_logs.yml", lab_run_id="later", **lab)
    assert again.returncode == 0, again.output
    assert gathered.readlink() == Path("later")
    assert (gathered / "raft-1.log").read_bytes() == (tmp_path / "artifacts" / "first" / "raft-1.log").read_bytes()

    assert play("playbooks/destroy.yml", **lab).returncode == 0
    assert list((tmp_path / "build").iterdir()) == []


@pytest.mark.slow
def test_a_client_that_fails_fails_the_run_after_the_logs_are_gathered(
    play: Run, lab: dict[str, str], tmp_path: Path
) -> None:
    started = play("playbooks/deploy.yml", **lab)
    assert started.returncode == 0, started.output
    config = tmp_path / "build" / "local" / "client.yaml"
    config.write_text("endpoints: 7\n")  # a client that cannot even start

    steps = [f"playbooks/{step}.yml" for step in ("scenario", "collect_logs", "validate")]
    done = play(*steps, scenario_fail_now="false", **lab)
    assert done.returncode == 2
    assert "scenario: expected the client to end with 0, found 2" in done.error()
    assert (tmp_path / "artifacts" / "latest" / "raft-0.log").exists()
    assert processes_in(tmp_path / "build") == []


def test_a_scenario_without_nodes_is_refused(play: Run, lab: dict[str, str]) -> None:
    done = play("playbooks/scenario.yml", **lab)
    assert done.returncode == 2
    assert "expected running nodes in" in done.error()


def test_gathering_without_a_run_is_refused_and_leaves_no_folder(
    play: Run, lab: dict[str, str], tmp_path: Path
) -> None:
    done = play("playbooks/collect_logs.yml", **lab)
    assert done.returncode == 2
    assert "found none" in done.error()
    assert list(tmp_path.iterdir()) == []
