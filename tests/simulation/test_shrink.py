"""A failing schedule becomes a short one that still fails alike."""

import pytest

from tests.simulation.faults import Fault
from tests.simulation.plan import draw
from tests.simulation.run import run_plan
from tests.simulation.shrink import fewest, kind_of, shrink


def fault(number: int) -> Fault:
    return Fault(float(number), "crash", 0.1, number)


def test_only_the_faults_that_matter_are_left():
    faults = [fault(number) for number in range(30)]
    tried = []

    def fails(candidate):
        tried.append(candidate)
        return {faults[4], faults[17]} <= set(candidate)

    assert fewest(faults, fails) == [faults[4], faults[17]]
    assert len(tried) < 100


def test_no_fault_is_left_when_none_matters():
    assert list(fewest([fault(1), fault(2)], lambda candidate: True)) == []


def test_failures_are_alike_whatever_their_numbers():
    assert kind_of("n1 went back from term 12 to 3") == kind_of("n5 went back from term 4 to 2\nmore")
    assert kind_of("term 3 has two leaders, n1 and n2") != kind_of("n1 went back from term 12 to 3")


def test_a_plan_that_holds_is_left_alone():
    plan = draw(1)
    assert shrink(plan) == plan


@pytest.mark.interpreted
def test_a_failing_plan_shrinks_and_fails_alike(monkeypatch):
    # the leader is made to commit whatever it has: without any fault, the first commit is wrong
    monkeypatch.setattr("raft_zmq.core.quorum.joint_committed_index", lambda membership, match: max(match.values()))
    plan = draw(1)
    before = run_plan(plan)[0].failure
    shorter = shrink(plan)
    after = run_plan(shorter)[0].failure
    assert before
    assert kind_of(after) == kind_of(before)
    assert len(shorter.faults) < len(plan.faults)
