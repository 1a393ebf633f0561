"""The soak's figures: a lost write is shown as one, and is no measurement that failed."""

import pytest

from client.verify.rules import RULES
from client.verify.verdict import Check, Verdict
from raft_zmq.core.errors import RaftLabError
from tests.performance.rows.soak import LOST, verdict_figures


def verdict(**statuses: str) -> Verdict:
    checks = tuple(
        Check(name=name, section="s", claim="c", status=status, checked=1, detail="d", violations=("k",) * 2)
        for name, status in statuses.items()
    )
    return Verdict(ok=False, checks=checks, inputs={})


def test_lost_writes_are_counted():
    lost, failed = verdict_figures(verdict(**{LOST: "fail", "Terms never go back": "pass"}), 39)
    assert (lost.value, lost.reached) == (2, False)
    assert (failed.value, failed.reached, failed.note) == (1, False, LOST)


def test_the_check_that_it_looks_for_is_one_of_the_verifiers():
    assert LOST in [rule.name for rule in RULES]


def test_without_writes_to_look_for_nothing_is_claimed():
    with pytest.raises(RaftLabError, match="expected acknowledged writes to look for"):
        verdict_figures(verdict(**{LOST: "vacuous"}), 39)
