"""What this machine can run, and the rule that only what it lacks excuses a skipped test.

With CI=true a test that is skipped although this machine could have run it fails the run: a suite that quietly leaves
out what it should have shown is worse than one that fails.
"""

import functools
import os
import socket
import subprocess
import tempfile
from collections.abc import Generator

import pytest

# pytest-xdist tells its workers of a terminal of 80 columns; tests look at tables as wide as they are without one.
os.environ.pop("COLUMNS", None)

LAB_CONTEXT = os.environ.get("LAB_KUBE_CONTEXT", "kind-raft-lab")
LAB_NAMESPACE = os.environ.get("LAB_NAMESPACE", "raft")


def answers(*command: str) -> bool:
    """Whether the command exists and ends with 0 within ten seconds."""
    try:
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def engine_answers() -> bool:
    return answers("docker", "version")


@functools.cache
def may_mount() -> bool:
    """Whether a test may mount a file system: root may, outside of most containers."""
    with tempfile.TemporaryDirectory() as place:
        return answers("mount", "-t", "tmpfs", "tmpfs", place) and answers("umount", place)


@functools.cache
def has_ipv6() -> bool:
    """Whether this machine can be reached at ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@functools.cache
def lab_is_up() -> bool:
    return answers("kubectl", f"--context={LAB_CONTEXT}", "get", "namespace", LAB_NAMESPACE)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("mount") is not None and not may_mount():
        pytest.skip("needs the right to mount a file system: run it as root")
    if item.get_closest_marker("ipv6") is not None and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    if item.get_closest_marker("kind") is None:
        return
    if not engine_answers():
        pytest.skip("no container engine answers")
    if not lab_is_up():
        pytest.skip("expected the lab's kind cluster, found none; `LAB_PLATFORM=kind make lab` makes it")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    lacking = {"kind": engine_answers, "mount": may_mount, "ipv6": has_ipv6}
    excused = any(item.get_closest_marker(mark) is not None and not there() for mark, there in lacking.items())
    if report.skipped and not hasattr(report, "wasxfail") and not excused:
        refuse_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        refuse_in_ci(report)
    return report


def refuse_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure when CI=true."""
    if os.environ.get("CI") == "true":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI=true, and this machine could have run what was skipped here: {why}"
