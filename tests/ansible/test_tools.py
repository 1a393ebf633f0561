"""Preflight takes the tools on PATH when they fit, builds them with Go when they cannot be downloaded, or says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ansible.conftest import ROOT, Play

Run = Callable[..., Play]

FITTING = {"kind": "kind v0.30.0 go1.24 linux/amd64", "helm": "v3.19.5+g1", "kubectl": "Client Version: v1.34.4"}
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}

# Builds what it is asked for: `go install … MODULE@VERSION`, `go -C FOLDER build … -o PATH .`, `go version`.
FAKE_GO = """\
echo "$@" >> "$GO_CALLS"
case $1 in
  version) exit 0 ;;
  install) for argument; do :; done; program=${argument%@*}; echo built > "$GOBIN/${program##*/}" ;;
  -C) while [ "$1" != -o ]; do shift; done; echo built > "$2" ;;
esac
"""


class Machine:
    """A machine whose only tools are those that a test puts there."""

    def __init__(self, folder: Path, play: Run) -> None:
        self.path = folder / "path"
        self.tools = folder / "tools"
        self.go_calls = folder / "go-calls"
        self._play = play
        self.path.mkdir()
        for tool in (*FITTING, "go"):
            self.has(tool, "exit 127")

    def has(self, name: str, script: str) -> None:
        program = self.path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def preflight(self) -> Play:
        environment = {**NO_NETWORK, "PATH": f"{self.path}:/usr/bin:/bin", "GO_CALLS": str(self.go_calls)}
        return self._play(
            "playbooks/preflight.yml",
            environment=environment,
            lab_platform="local",
            lab_tools_needed="true",
            lab_tools_dir=str(self.tools),
        )


@pytest.fixture
def machine(tmp_path: Path, play: Run) -> Machine:
    machine = Machine(tmp_path, play)
    for name, answer in FITTING.items():
        machine.has(name, f"echo '{answer}'")
    return machine


def test_tools_that_fit_are_taken_as_they_are(machine: Machine) -> None:
    done = machine.preflight()
    assert done.returncode == 0, done.output
    assert not machine.tools.exists()


@pytest.mark.parametrize(
    ("tool", "answer", "found"),
    [
        ("helm", "echo v4.0.1", "4.0.1"),  # kubernetes.core does not work with it
        ("kubectl", "echo Client Version: v1.30.2", "1.30.2"),
        ("kind", "exit 127", "none"),
    ],
)
def test_what_is_missing_or_does_not_fit_ends_the_run(machine: Machine, tool: str, answer: str, found: str) -> None:
    machine.has(tool, answer)
    done = machine.preflight()
    assert done.returncode == 2
    line = next(line for line in done.output.splitlines() if line.startswith("[ERROR]") and "expected" in line)
    assert f"{tool}: expected a version from" in line
    assert f"found {found}; its release cannot be downloaded and there is no Go to build it. Put {tool}" in line


def test_go_builds_the_pinned_versions_where_nothing_can_be_downloaded(machine: Machine) -> None:
    for tool in FITTING:
        machine.has(tool, "exit 127")
    machine.has("go", FAKE_GO)
    done = machine.preflight()
    assert done.returncode == 0, done.output
    assert sorted(program.name for program in machine.tools.iterdir()) == ["helm", "kind", "kubectl"]
    calls = machine.go_calls.read_text()
    assert "sigs.k8s.io/kind@v0.30.0" in calls
    assert "internal/version.version=v3.19.5" in calls
    assert "helm.sh/helm/v3/cmd/helm@v3.19.5" in calls
    assert "component-base/version.gitVersion=v1.34.4" in calls


def test_the_module_that_kubectl_is_built_from_pins_the_same_version() -> None:
    module = (ROOT / "roles" / "tools" / "files" / "kubectl" / "go.mod").read_text()
    assert "k8s.io/kubectl v0.34.4" in module
