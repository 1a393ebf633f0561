"""Upgrades of the live release that are refused for what is in the cluster; nothing is changed by them."""

import subprocess

import pytest

from tests.infra.named_tests import ROOT

pytestmark = pytest.mark.kind


@pytest.fixture
def upgrade(lab):
    """What Helm would say to an upgrade with some values set."""

    def upgrade(*settings: str) -> subprocess.CompletedProcess[str]:
        where = [f"--kube-context={lab.context}", f"--namespace={lab.namespace}"]
        command = ["helm", *where, "upgrade", "raft", str(ROOT / "chart"), "--reuse-values", "--dry-run=server"]
        values = [f"--set={setting}" for setting in settings]
        return subprocess.run([*command, *values], capture_output=True, text=True, timeout=60)

    return upgrade


@pytest.mark.parametrize("pod", ["client", "admin"])
def test_a_client_whose_key_is_not_in_the_kept_secret_is_refused(lab, upgrade, pod):
    refused = upgrade("client.keyName=ops", "client.enabled=false", "admin.enabled=false", f"{pod}.enabled=true")
    assert refused.returncode != 0
    assert (
        f"client.keyName: expected a client with keys in the Secret raft-keys of namespace {lab.namespace}, which is "
        "there and stays as it is, found ops where there are keys of: lab."
    ) in refused.stderr


@pytest.mark.parametrize("settings", [["client.enabled=false", "client.keyName=ops"], ["admin.enabled=true"]], ids=str)
def test_an_upgrade_that_mounts_no_missing_key_is_taken(upgrade, settings):
    done = upgrade(*settings)
    assert done.returncode == 0, done.stderr
