"""The ZAP handler's answers (RFC 27), whatever is asked."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zmq.utils import z85

from raft_zmq.transport import keys
from raft_zmq.transport.counters import TransportCounters
from raft_zmq.transport.refusals import Refusal, Refusals
from raft_zmq.transport.zap import ZapHandler

Ask = Callable[..., list[bytes]]


class Desk:
    """A handler and somebody who asks it, as libzmq does."""

    def __init__(self, folder: Path) -> None:
        self.context = zmq.Context()
        self.counters = TransportCounters()
        self.keys = keys.load_node_keys(folder, "n1")
        self.told: list[Refusal] = []
        refusals = Refusals(self.told.append, interval_s=60)
        self.handler = ZapHandler(self.context, keys.KeyRing(self.keys), self.counters, refusals)
        self.asker = self.context.socket(zmq.DEALER)
        self.asker.connect("inproc://zeromq.zap.01")

    def ask(self, *frames: bytes) -> list[bytes]:
        self.asker.send_multipart([b"", *frames])
        self.handler.handle()
        assert self.asker.poll(5000)
        empty, *answer = self.asker.recv_multipart()
        assert empty == b""
        return answer

    def ask_for(self, key: bytes, domain: bytes) -> list[bytes]:
        return self.ask(b"1.0", b"request 7", domain, b"10.0.0.1", b"", b"CURVE", z85.decode(key))

    def close(self) -> None:
        self.handler.close()
        self.asker.close(linger=0)
        self.context.term()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("keys")
    keys.generate(folder, ["n1", "n2"], {"app": keys.Role.READ_WRITE})
    desk = Desk(folder)
    yield desk
    desk.close()


def key_of_app(desk: Desk) -> bytes:
    return next(iter(desk.keys.client_owners)).encode()


def test_a_known_key_is_let_in_as_itself(desk: Desk) -> None:
    peer, client = desk.keys.peers["n2"], key_of_app(desk)
    assert desk.ask_for(peer, b"peers") == [b"1.0", b"request 7", b"200", b"OK", peer, b""]
    assert desk.ask_for(client, b"clients") == [b"1.0", b"request 7", b"200", b"OK", client, b""]


def test_keys_count_in_their_own_domain_alone(desk: Desk) -> None:
    for key, domain in (
        (desk.keys.peers["n2"], b"clients"),
        (key_of_app(desk), b"peers"),
        (desk.keys.service.public, b"peers"),
        (desk.keys.service.public, b"clients"),
        (key_of_app(desk), b""),
        (key_of_app(desk), b"else"),
        (zmq.curve_keypair()[0], b"clients"),
    ):
        before = desk.counters.keys_refused.get("unknown_key", 0)
        assert desk.ask_for(key, domain) == [b"1.0", b"request 7", b"400", b"unknown_key", b"", b""]
        assert desk.counters.keys_refused["unknown_key"] == before + 1


@pytest.mark.parametrize(
    "frames",
    [
        [b"1.0", b"9", b"clients", b"", b"", b"NULL"],
        [b"1.0", b"9", b"clients", b"", b"", b"PLAIN", b"user", b"password"],
        [b"1.0", b"9", b"clients", b"", b"", b"CURVE", b"short"],
        [b"2.0", b"9", b"clients", b"", b"", b"CURVE", bytes(32)],
    ],
)
def test_other_mechanisms_and_versions_are_refused(frames: list[bytes], desk: Desk) -> None:
    assert desk.ask(*frames) == [b"1.0", b"9", b"400", b"no_curve_key", b"", b""]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(frames=st.lists(st.binary(max_size=40), max_size=12))
def test_garbage_is_answered_and_never_lets_anyone_in(frames: list[bytes], desk: Desk) -> None:
    answer = desk.ask(*frames)
    assert answer[2] == b"400"
    assert desk.ask_for(desk.keys.peers["n2"], b"peers")[2] == b"200", "the handler goes on"


def test_many_requests_are_answered_over_several_calls(desk: Desk) -> None:
    for _ in range(200):
        desk.asker.send_multipart([b"", b"1.0", b"", b"peers", b"", b"", b"CURVE", bytes(32)])
    answers = 0
    while answers < 200:
        desk.handler.handle()
        while desk.asker.poll(0):
            desk.asker.recv_multipart()
            answers += 1


def test_a_request_without_content_is_survived(desk: Desk) -> None:
    desk.asker.send(b"")
    desk.handler.handle()
    assert desk.asker.poll(5000)
    desk.asker.recv_multipart()
