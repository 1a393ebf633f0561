"""Random faults under a fixed corpus of seeds; `make simulate` runs as many others as you like.

RAFT_SEED=77 runs that seed alone.
"""

import os
from collections import Counter

import msgspec
import pytest

from raft_zmq.core.errors import InvariantError
from tests.simulation.__main__ import main
from tests.simulation.faults import KINDS
from tests.simulation.network import CALM
from tests.simulation.plan import draw
from tests.simulation.run import check_linearizable, run_plan

CORPUS = range(1, 401)
GROUP = 20  # seeds in one test


def groups() -> list[list[int]]:
    """The seeds to run, some in each test."""
    chosen = os.environ.get("RAFT_SEED")
    seeds = [int(chosen)] if chosen else list(CORPUS)
    return [seeds[start : start + GROUP] for start in range(0, len(seeds), GROUP)]


@pytest.mark.parametrize("seeds", groups(), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_random_faults_keep_every_invariant(seeds):
    for seed in seeds:
        result, world = run_plan(draw(seed))
        if result.failure:
            events = "\n".join(world.trace.text(40))
            pytest.fail(f"{events}\n{result.failure}\nreplay with: make simulate SEEDS=1 FIRST_SEED={seed}")


def test_every_kind_of_fault_is_planned_by_some_seed():
    planned = Counter(fault.kind for seed in range(1, 101) for fault in draw(seed).faults)
    assert planned.keys() == KINDS.keys()


def test_a_run_without_faults_is_vacuous():
    plan = draw(1)
    options = msgspec.structs.replace(plan.options, weather=CALM)
    result, _ = run_plan(msgspec.structs.replace(plan, faults=(), options=options))
    assert "vacuous" in result.failure


def test_a_history_that_cannot_be_judged_in_the_steps_allowed_is_no_pass():
    result, world = run_plan(draw(1))
    assert not result.failure
    with pytest.raises(InvariantError, match="undecided after 2 steps"):
        check_linearizable(world, steps_max=1)


@pytest.mark.interpreted
def test_a_batch_prints_what_happened_and_how_to_replay_a_failure(capsys, monkeypatch):
    monkeypatch.setattr("raft_zmq.core.quorum.joint_committed_index", lambda membership, match: max(match.values()))
    status = main(["--seeds", "6", "--jobs", "1"])
    printed = capsys.readouterr().out
    assert status == 1
    assert "core steps" in printed
    assert "replay with: make simulate SEEDS=1 FIRST_SEED=" in printed
