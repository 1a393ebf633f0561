"""Live things to look at: the images that were built last, and the pods of the lab's cluster.

tests/conftest.py decides whether they are there. LAB_KUBE_CONTEXT and LAB_NAMESPACE choose another release of the chart
than the lab's own.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.conftest import LAB_CONTEXT, LAB_NAMESPACE

NODES = ("raft-0", "raft-1", "raft-2")


@dataclass(frozen=True)
class Lab:
    """A release of the chart in a cluster."""

    context: str
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints."""
        return run("kubectl", f"--context={self.context}", f"--namespace={self.namespace}", *arguments)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object of the namespace."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def container(self, pod: str, container: str) -> Host:
        """A container of a pod, for testinfra."""
        query = f"container={container}&namespace={self.namespace}&context={self.context}"
        return testinfra.get_host(f"kubectl://{pod}?{query}")


def run(*command: str) -> str:
    """Standard output of a command that has to work."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab's release, once all of its nodes are ready."""
    lab = Lab(LAB_CONTEXT, LAB_NAMESPACE)
    lab.kubectl("rollout", "status", "statefulset/raft", "--timeout=60s")
    return lab


@pytest.fixture(scope="module", params=NODES)
def node_name(request: pytest.FixtureRequest) -> str:
    """Each node in turn."""
    return str(request.param)


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
        config: dict[str, Any] = self.facts["Config"]
        return config


def newest_image(target: str) -> Image:
    """The image of a target of the Dockerfile that was built last."""
    listed = run(
        "docker", "image", "ls", f"--filter=reference=*/raft-zmq-{target}", "--format={{.Repository}}:{{.Tag}}"
    )
    names = listed.split()
    assert names, f"expected an image raft-zmq-{target}, found none; `ansible-playbook playbooks/build.yml` builds it"
    return Image(names[0], json.loads(run("docker", "image", "inspect", names[0]))[0])


@pytest.fixture(scope="module", params=["server", "client"])
def image(request: pytest.FixtureRequest) -> Image:
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
