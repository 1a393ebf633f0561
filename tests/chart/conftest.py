"""The chart as Helm renders it: `render` gives dicts by (kind, name), `refusal` what Helm says to wrong values."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "chart"
NAMESPACE = "lab"

Manifest = dict[str, Any]
Manifests = dict[tuple[str, str], Manifest]
Values = Mapping[str, Any]


@pytest.fixture(scope="session")
def helm() -> str:
    """Path of the helm program: the project's own, else the one on PATH."""
    found = shutil.which("helm", path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found:
        return found
    pytest.skip("no helm in .tools/bin or on PATH; `make tools` gets it")


@functools.cache
def _run(*command: str, values: str) -> subprocess.CompletedProcess[str]:
    """Run helm with `values` (JSON, which is YAML too) on its standard input; equal calls are made once."""
    no_cluster = {**os.environ, "KUBECONFIG": os.devnull}
    return subprocess.run(
        [*command, "--values", "-"], input=values, env=no_cluster, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def render(helm: str) -> Callable[..., Manifests]:
    """What the chart installs, hooks and tests included."""

    def render(values: Values | None = None, *, release: str = "raft", upgrade: bool = False) -> Manifests:
        command = [helm, "template", release, str(CHART), "--namespace", NAMESPACE, *["--is-upgrade"] * upgrade]
        done = _run(*command, values=json.dumps(values or {}))
        assert done.returncode == 0, done.stderr
        manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
        by_name = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}
        assert len(by_name) == len(manifests), "two resources of one kind have the same name"
        return by_name

    return render


@pytest.fixture
def refusal(helm: str) -> Callable[[Values], str]:
    """What Helm says to values that the chart must not take."""

    def refusal(values: Values) -> str:
        done = _run(helm, "template", "raft", str(CHART), "--namespace", NAMESPACE, values=json.dumps(values))
        assert done.returncode != 0, f"the chart took {values}"
        return done.stderr

    return refusal


@pytest.fixture(scope="session")
def notes(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Values], str]:
    """What Helm prints after an installation.

    `helm template` leaves the notes out and `helm install` asks a cluster, so a copy of the chart gets a template more.
    """
    copy = tmp_path_factory.mktemp("chart") / "raft"
    shutil.copytree(CHART, copy)
    (copy / "templates" / "notes.yaml").write_text(
        'notes: |\n  {{- include (print .Template.BasePath "/NOTES.txt") . | nindent 2 }}\n'
    )

    def notes(values: Values) -> str:
        command = (helm, "template", "raft", str(copy), "--namespace", NAMESPACE)
        done = _run(*command, "--show-only", "templates/notes.yaml", values=json.dumps(values))
        assert done.returncode == 0, done.stderr
        return str(yaml.safe_load(done.stdout)["notes"])

    return notes


def pod_spec(manifest: Manifest) -> dict[str, Any] | None:
    """The pod that a manifest is or makes; None for one that makes none."""
    spec: dict[str, Any] = manifest.get("spec", {})
    return spec if manifest["kind"] == "Pod" else spec.get("template", {}).get("spec")
