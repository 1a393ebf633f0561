"""What the system knows of a connection."""

import os
import socket

import pytest

from raft_zmq.transport import tcp


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def next_free_number() -> int:
    """The lowest file descriptor that is not in use."""
    free = os.dup(0)
    os.close(free)
    return free


def test_a_number_that_has_gone_to_another_file_is_no_connection_and_nothing_stays_open(pipe):
    free = next_free_number()
    assert tcp.duplicate(pipe[0]) is None
    assert next_free_number() == free


def test_a_connection_is_duplicated():
    with socket.socket() as ours:
        handle = tcp.duplicate(ours.fileno())
        assert handle is not None
        assert handle.fileno() != ours.fileno()
        handle.close()
