"""Where the lab runs: what is asked for, what this machine has, and one clear line where the two do not meet."""

import hashlib
import json
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ansible.conftest import PLAYBOOKS_AND_SITE, Play

Run = Callable[..., Play]
PREFLIGHT = "playbooks/preflight.yml"


@pytest.fixture
def no_engine(tmp_path: Path) -> dict[str, str]:
    return {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}


def test_every_playbook_parses(play: Run) -> None:
    assert play("--syntax-check", *PLAYBOOKS_AND_SITE).returncode == 0


@pytest.mark.parametrize("playbook", ["site.yml", PREFLIGHT, "playbooks/collect_logs.yml", "playbooks/destroy.yml"])
def test_an_unknown_platform_is_refused_before_anything_is_done(play: Run, playbook: str) -> None:
    done = play(playbook, lab_platform="moon")
    assert done.returncode == 2
    assert done.error() == (
        "lab_platform: expected auto, kind, kubernetes or local, found 'moon'. "
        "Set LAB_PLATFORM in the environment or use -e lab_platform=…."
    )
    assert "changed=0" in done.output


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("lab_nodes", "0"),
        ("lab_nodes", "three"),
        ("lab_nodes", "3.5"),
        ("lab_cluster_workers", "-1"),
        ("lab_run_id", "latest"),
        ("lab_run_id", "../other"),
        ("lab_run_id", "a/b"),
        ("lab_chart_values", "5"),
        ("lab_chart_values", '{"replicas":'),  # what Ansible makes of a text with a blank in it
    ],
)
def test_sizes_and_names_that_cannot_be_are_refused_before_anything_is_done(
    play: Run, setting: str, wrong: str
) -> None:
    done = play(PREFLIGHT, lab_platform="local", **{setting: wrong})
    assert done.returncode == 2
    assert done.error().startswith(f"{setting}: expected ")
    assert f"found '{wrong}'" in done.error()
    assert "changed=0" in done.output


def test_a_client_by_another_name_is_refused_as_the_scenario_would_wait_for_it_in_vain(play: Run) -> None:
    done = play(PREFLIGHT, lab_platform="local", lab_chart_values='{"client":{"name":"watcher"}}')
    assert done.returncode == 2
    assert done.error().startswith("lab_chart_values: expected client.name to be client, found 'watcher'.")
    assert "changed=0" in done.output


def test_the_platform_can_come_from_the_environment(play: Run) -> None:
    done = play(PREFLIGHT, environment={"LAB_PLATFORM": "mars"})
    assert done.returncode == 2
    assert "found 'mars'" in done.error()


def test_kind_without_an_engine_is_refused(play: Run, no_engine: dict[str, str]) -> None:
    done = play(PREFLIGHT, environment=no_engine, lab_platform="kind")
    assert done.returncode == 2
    assert "expected a container engine" in done.error()
    assert "LAB_PLATFORM=local" in done.error()


def test_auto_without_an_engine_uses_local_processes_and_says_so(play: Run, no_engine: dict[str, str]) -> None:
    done = play(PREFLIGHT, environment={**no_engine, "LAB_PLATFORM": "auto"})
    assert done.returncode == 0
    said = " ".join(done.output.split())
    assert "No container engine answers, so the lab runs in local processes. For kind: install and start Docker" in said


class Engine(socketserver.UnixStreamServer):
    """Listens at a socket and hangs up on whoever comes; `asked` says that somebody did."""

    asked = False

    def finish_request(self, request: object, client_address: object) -> None:
        self.asked = True


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(f"{tmp_path}/engine.sock", socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def context_of_the_engine(engine: Engine, tmp_path: Path) -> dict[str, str]:
    """What makes it the engine of docker's current context, with a docker command that has found it."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\necho amd64\n")
    docker.chmod(0o755)
    meta = tmp_path / "config" / "contexts" / "meta" / hashlib.sha256(b"other").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": f"unix://{tmp_path}/engine.sock", "SkipTLSVerify": False}
    meta.write_text(json.dumps({"Name": "other", "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    (tmp_path / "config" / "config.json").write_text(json.dumps({"currentContext": "other"}))
    return {"PATH": f"{docker.parent}:{os.environ['PATH']}", "DOCKER_CONFIG": f"{tmp_path}/config", "DOCKER_HOST": ""}


@pytest.mark.parametrize("playbook", ["build", "cluster", "deploy", "destroy"])
def test_the_engine_of_dockers_context_is_the_labs(
    play: Run, engine: Engine, context_of_the_engine: dict[str, str], tmp_path: Path, playbook: str
) -> None:
    own = {"lab_cluster_name": "raft-test-none", "lab_build_dir": str(tmp_path), "registry_name": "raft-test-none"}
    done = play("--check", f"playbooks/{playbook}.yml", environment=context_of_the_engine, lab_platform="kind", **own)
    assert done.returncode == 2
    assert "Error connecting" in done.error()
    assert engine.asked


def test_kubernetes_needs_a_context_and_a_registry(play: Run) -> None:
    done = play(PREFLIGHT, lab_platform="kubernetes", lab_kube_context="prod")
    assert done.returncode == 2
    assert "expected lab_kube_context and lab_registry, found 'prod' and ''" in done.error()


def test_a_dry_run_changes_nothing(play: Run, tmp_path: Path) -> None:
    done = play(
        "--check",
        "site.yml",
        lab_platform="local",
        lab_build_dir=f"{tmp_path}/build",
        lab_artifacts_dir=f"{tmp_path}/a",
    )
    assert done.returncode == 0, done.output
    assert "changed=0" in done.output
    assert list(tmp_path.iterdir()) == []
