"""Which I/O thread a connection gets: a name server that does not answer must hold up that connection alone."""

import pytest
import zmq

from raft_zmq.transport import sockets


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1:6001", False),
        ("[fd00::1]:6001", False),
        ("raft-0.raft-headless:6001", True),
        ("localhost:6001", True),
        ("10.0.0:6001", True),
    ],
)
def test_names_are_told_from_addresses(address: str, expected: bool) -> None:
    assert sockets.needs_lookup(address) is expected


def test_connections_to_names_never_share_the_thread_of_the_ports() -> None:
    context = sockets.new_context()
    threads = [sockets.lookup_thread(context, number) for number in range(2 * sockets.LOOKUP_THREADS)]
    assert set(threads) == set(range(1, 1 + sockets.LOOKUP_THREADS))
    assert len(set(threads[: sockets.LOOKUP_THREADS])) == sockets.LOOKUP_THREADS
    context.term()


def test_a_context_with_one_thread_has_it_for_everything() -> None:
    context = zmq.Context()
    assert sockets.lookup_thread(context, 5) == 0
    context.term()
