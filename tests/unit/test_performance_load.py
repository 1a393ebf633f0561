"""Load beside a measurement: it lasts as long as the measurement and no longer, or the measurement is none."""

import pytest

from raft_zmq.core.errors import RaftLabError
from tests.performance.load import under_load


def end(process):
    process.kill()
    process.wait()


def test_load_goes_on_to_the_end_of_the_block_and_ends_there():
    with under_load(["sleep", "60"], processes=2) as running:
        assert [process.poll() for process in running] == [None, None]
    assert [process.returncode for process in running] == [-15, -15]


def test_load_that_ended_early_is_an_error():
    with (
        pytest.raises(RaftLabError, match="expected load all the while, found that it ended with 3"),
        under_load(["sh", "-c", "exit 3"]) as running,
    ):
        running[0].wait()


def test_load_that_ended_early_is_an_error_too_beside_other_that_goes_on():
    with pytest.raises(RaftLabError, match="ended with -9"), under_load(["sleep", "60"], processes=2) as running:
        end(running[1])
    assert [process.returncode for process in running] == [-15, -9]


def test_load_ends_with_a_measurement_that_fails_and_that_failure_is_told():
    with pytest.raises(ZeroDivisionError), under_load(["sleep", "60"], processes=2) as running:
        _ = 1 / 0
    assert [process.returncode for process in running] == [-15, -15]
