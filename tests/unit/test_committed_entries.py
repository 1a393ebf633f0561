"""How many committed entries are handed out at once: few, so that nothing waits long; more when many have gathered."""

import pytest

from raft_zmq.core import inputs
from tests.unit.raft_server import Server, append, incarnation, log


@pytest.mark.parametrize(
    ("waiting", "handed_out"), [(1, 1), (256, 256), (300, 256), (4_000, 1_000), (16_384, 4_096), (20_000, 4_096)]
)
def test_what_is_handed_out_grows_with_what_waits(waiting, handed_out):
    server = Server(term=1, entries=log(*[1] * waiting))
    heartbeat = append(1, prev=(waiting, 1), commit=waiting)
    server.raft.step(server.now_s, inputs.Received("n2", incarnation("n2"), heartbeat))
    assert len(server.raft.ready().committed) == handed_out
    server.raft.advance()
    assert server.raft.has_ready() is (waiting > handed_out)
