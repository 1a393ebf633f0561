"""Live things to look at: the images that were built last, and the pods of the lab's cluster.

Both need a container engine. Without one the tests are skipped; where CI=true and an engine answers, a missing image or
cluster is a failure, because `make lab` should have made it. LAB_KUBE_CONTEXT, LAB_NAMESPACE and LAB_RELEASE choose
another cluster than the lab's own.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import testinfra
from testinfra.host import Host

ROOT = Path(__file__).parents[2]
NODES = ("raft-0", "raft-1", "raft-2")


@dataclass(frozen=True)
class Lab:
    """A release of the chart in a cluster."""

    context: str
    namespace: str
    release: str

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints; CalledProcessError with its complaint if it fails."""
        return run("kubectl", f"--context={self.context}", f"--namespace={self.namespace}", *arguments)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object of the namespace."""
        return json.loads(self.kubectl("get", kind, name, "--output=json"))

    def container(self, pod: str, container: str) -> Host:
        """A container of a pod, for testinfra."""
        query = f"container={container}&namespace={self.namespace}&context={self.context}"
        return testinfra.get_host(f"kubectl://{pod}?{query}")


def run(*command: str) -> str:
    """Standard output of a command that has to work."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def missing(what: str) -> NoReturn:
    """Skip, or fail in CI: there an engine that answers obliges."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine that answers, and the project's own tools first on the PATH."""
    os.environ["PATH"] = f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    try:
        run("docker", "version")
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no container engine answers `docker version`")


@pytest.fixture(scope="session")
def lab(engine: None) -> Lab:
    """The lab's running release."""
    found = Lab(
        os.environ.get("LAB_KUBE_CONTEXT", "kind-raft-lab"),
        os.environ.get("LAB_NAMESPACE", "raft"),
        os.environ.get("LAB_RELEASE", "raft"),
    )
    try:
        found.kubectl("rollout", "status", f"statefulset/{found.release}", "--timeout=60s")
    except (OSError, subprocess.SubprocessError) as error:
        why = (getattr(error, "stderr", "") or str(error)).strip()
        missing(
            f"expected the lab's nodes to run in {found.context}, namespace {found.namespace}, found: {why} "
            "`LAB_PLATFORM=kind make lab` starts them."
        )
    return found


@pytest.fixture(scope="module", params=NODES)
def node_name(request: pytest.FixtureRequest) -> str:
    """Each node in turn."""
    return request.param


@pytest.fixture(scope="module")
def node(lab: Lab, node_name: str) -> Host:
    """The container of each node in turn."""
    return lab.container(node_name, "raft")


@dataclass(frozen=True)
class Image:
    """An image and what the engine says of it."""

    name: str
    facts: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """User, command, labels and the like."""
        return self.facts["Config"]


def newest_image(target: str) -> Image:
    """The image of a target of the Dockerfile that was built last."""
    listed = run(
        "docker", "image", "ls", f"--filter=reference=*/raft-zmq-{target}", "--format={{.Repository}}:{{.Tag}}"
    )
    names = listed.split()
    if not names:
        missing(f"expected an image raft-zmq-{target}, found none. `ansible-playbook playbooks/build.yml` builds it.")
    return Image(names[0], json.loads(run("docker", "image", "inspect", names[0]))[0])


@pytest.fixture(scope="module", params=["server", "client"])
def image(engine: None, request: pytest.FixtureRequest) -> Image:
    """Each image in turn."""
    return newest_image(request.param)


@pytest.fixture(scope="module")
def container(image: Image) -> Iterator[Host]:
    """A container of the image, without network, with nothing to do, for testinfra."""
    limits = ("--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    container_id = run("docker", "run", "--detach", "--rm", *limits, "--entrypoint=sleep", image.name, "600").strip()
    try:
        yield testinfra.get_host(f"docker://{container_id}")
    finally:
        run("docker", "kill", container_id)
