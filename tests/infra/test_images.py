"""The images, as the engine describes them and as their containers behave."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.kind

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
LABELS = ("title", "description", "version", "revision", "base.name")
BYTES_ABOVE_BASE_MAX = 40_000_000  # the base image is not ours to slim


def start(image, *arguments):
    """Run the image's own entry point with nothing it could lean on."""
    limits = ("--rm", "--read-only", "--network=none", "--cap-drop=ALL", "--user=10001:10001")
    command = ["docker", "run", *limits, image.name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_user_is_a_number_and_not_root(image):
    assert image.config["User"] == "10001:10001"


def test_the_entry_point_is_the_program_itself(image):
    server, client = ["raft-node"], ["python", "-m", "client"]
    assert image.config["Entrypoint"] == (server if "server" in image.name else client)


def test_the_client_runs_the_scenario_unless_told_otherwise(image):
    assert image.config["Cmd"] == (None if "server" in image.name else ["run"])


def test_ports_and_volume_are_declared(image):
    server = "server" in image.name
    assert set(image.config["ExposedPorts"]) == ({"6000/tcp", "6001/tcp", "8080/tcp"} if server else {"8081/tcp"})
    assert set(image.config["Volumes"] or ()) == ({"/var/lib/raft"} if server else set())


def test_labels_say_what_it_is(image):
    labels = image.config["Labels"]
    assert all(labels.get(f"org.opencontainers.image.{name}") for name in LABELS)
    version = tomllib.loads(PYPROJECT.read_text())["project"]["version"]
    assert labels["org.opencontainers.image.version"] == version


def test_it_adds_little_to_its_base(image):
    base = image.config["Labels"]["org.opencontainers.image.base.name"]
    found = subprocess.run(["docker", "image", "inspect", base], capture_output=True, text=True, timeout=60)
    if found.returncode:
        pytest.skip(f"the base image {base} is not on this machine")
    added_bytes = image.facts["Size"] - json.loads(found.stdout)[0]["Size"]
    assert added_bytes <= BYTES_ABOVE_BASE_MAX


def test_help_needs_no_network_no_right_and_no_disk(image):
    done = start(image, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_a_wrong_option_is_bad_usage(image):
    assert start(image, "--no-such-option").returncode == 2


def test_no_installer_and_no_compiler_is_left_in_it(container):
    for module in ("pip", "setuptools"):
        assert container.run(f"python -c 'import {module}'").failed, module
    for program in ("gcc", "cc", "make"):
        assert not container.exists(program), program


def test_its_user_owns_nothing_of_the_program(container):
    folders = " ".join(folder for folder in ("/opt/raft", "/app") if container.file(folder).exists)
    assert folders
    assert container.check_output(f"find {folders} ! -type l '(' -user 10001 -o -group 10001 -o -perm /022 ')'") == ""


def test_every_module_is_compiled_already(container):
    """Python could not write a .pyc at run time, so a missing one would be compiled anew at every start."""
    code = (
        "import importlib.util as u, pathlib; "
        "print([str(p) for top in ('/opt/raft/lib', '/app') for p in pathlib.Path(top).rglob('*.py') "
        "if not pathlib.Path(u.cache_from_source(str(p))).exists()])"
    )
    assert container.check_output("python -c %s", code) == "[]"


def test_tests_of_the_dependencies_are_left_out(container):
    assert container.check_output("find /opt/raft -type d -name tests") == ""


def test_there_are_no_keys_in_it(container):
    assert container.check_output("find /opt/raft /app /var/lib/raft /etc -name '*.secret' 2>/dev/null || true") == ""


def test_what_it_imports_is_what_the_wheel_asked_for(container):
    imported = "raft_zmq, msgspec, yaml, xxhash, zlib_ng"
    done = container.run(f"python -c 'import zmq; assert zmq.has(\"curve\"); import {imported}'")
    assert done.succeeded, done.stderr
