"""Every claim of docs/security.md names its tests, which exist; every setting and metric it lists is there too."""

import re

import pytest

from raft_zmq.settings import Settings
from raft_zmq.transport.counters import TransportCounters
from tests.infra.named_tests import ROOT, defined_tests

TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)))
CLAIMS = [part for part in re.split(r"\n(?=- |\| `)", TEXT) if part.startswith("- ")]
LIMITS = re.findall(r"^\| `(\w+)` \|.*\[`tests/.*\|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert (ROOT / file).exists(), f"docs/security.md names {file}, which is not there"
    assert name in {test.name for test in defined_tests(ROOT / file)}, f"{file} has no {name}"


def test_every_claim_names_a_test() -> None:
    assert len(CLAIMS) > 20
    assert [claim for claim in CLAIMS if "::test_" not in claim] == []


def test_every_limit_is_a_setting() -> None:
    assert len(LIMITS) == 11
    assert [limit for limit in LIMITS if limit not in Settings.__struct_fields__] == []


def test_every_setting_that_bounds_what_others_take_up_is_told() -> None:
    not_about_others = {"trailing_bytes", "append_bytes_max", "inflight_messages_max", "clock_drift_max"}
    bounds = {name for name in Settings.__struct_fields__ if name.endswith("_max")} - not_about_others
    assert {name for name in bounds if not name.endswith("_s_max")} <= set(LIMITS)


def test_every_transport_metric_it_names_is_counted() -> None:
    named = set(re.findall(r"`transport_(\w+)_total", TEXT))
    assert named
    assert named <= set(TransportCounters.__struct_fields__)
