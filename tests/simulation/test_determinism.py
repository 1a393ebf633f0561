"""One seed is one run, to the same byte: in another process, and with another order of hashes."""

import os
import subprocess
import sys

import pytest

from tests.simulation.plan import draw
from tests.simulation.run import run_plan

PROGRAM = """
import sys
from tests.simulation.plan import draw
from tests.simulation.run import run_plan
print(*(run_plan(draw(int(seed)))[1].trace.digest() for seed in sys.argv[1:]))
"""
SEEDS = ["3", "11", "23", "40"]


def digests_in_a_new_process(hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *SEEDS],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_seed_gives_the_same_trace_whatever_the_order_of_hashes():
    first, second = digests_in_a_new_process("1"), digests_in_a_new_process("31337")
    assert first == second
    assert len(set(first)) == len(SEEDS)  # and another seed gives another one


@pytest.mark.parametrize("seed", [5, 19])
def test_a_seed_gives_the_same_trace_again_in_one_process(seed):
    traces = ["\n".join(run_plan(draw(seed))[1].trace.text()) for _ in range(2)]
    assert traces[0] == traces[1]
