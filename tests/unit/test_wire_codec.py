"""Frames to messages and back: every message survives the way, and nothing else gets through."""

import contextlib
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from raft_zmq.core.errors import PeerError
from raft_zmq.core.log import ENTRY_BYTES
from raft_zmq.core.messages import AppendEntries, AppendReply, Entry, EntryKind, PeerMessage, TimeoutNow
from raft_zmq.settings import FRAME_MARGIN_BYTES
from raft_zmq.wire import codec
from raft_zmq.wire.client_messages import Answer, Refused, Request, Status, Write
from raft_zmq.wire.frames import CLIENT_BATCH_MAX, ClientHeader, PeerHeader

HIGHEST = 2**63 - 1

quick = settings(max_examples=60, deadline=None)


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Every value that a field of that type may hold."""
    match kind:
        case inspect.IntType(ge=least, le=most):
            return st.integers(-(2**63) if least is None else least, 2**63 - 1 if most is None else most)
        case inspect.FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False)
        case inspect.StrType(min_length=least, max_length=most):
            return st.text(st.characters(codec="utf-8"), min_size=least or 0, max_size=min(most or 30, 30))
        case inspect.BytesType(min_length=least, max_length=most):
            return st.binary(min_size=least or 0, max_size=min(most or 100, 100))
        case inspect.BoolType():
            return st.booleans()
        case inspect.EnumType(cls=enumeration):
            return st.sampled_from(enumeration)
        case inspect.VarTupleType(item_type=item):
            return st.lists(values_of(item), max_size=5).map(tuple)
        case inspect.StructType(cls=struct, fields=fields):
            return st.builds(struct, **{field.name: values_of(field.type) for field in fields})
    raise TypeError(kind)


def messages_of(union: Any) -> st.SearchStrategy[Any]:
    return st.one_of([values_of(inspect.type_info(kind)) for kind in get_args(union)])


@quick
@given(messages=st.lists(messages_of(PeerMessage), max_size=10))
def test_peer_messages_survive(messages: list[PeerMessage]) -> None:
    assert [codec.decode_peer(frame) for frame in codec.encode_peer(messages)] == messages


@quick
@given(requests=st.lists(messages_of(Request), max_size=10))
def test_requests_survive(requests: list[Request]) -> None:
    frame = codec.encode_requests(requests)
    assert codec.decode_requests(frame) == requests
    assert codec.sort_requests(memoryview(frame)) == (requests, [])


@quick
@given(answers=st.lists(messages_of(Answer), max_size=10))
def test_answers_survive(answers: list[Answer]) -> None:
    assert codec.decode_answers(codec.encode_answers(answers)) == answers


@quick
@given(
    peer=values_of(inspect.type_info(PeerHeader)),
    client=values_of(inspect.type_info(ClientHeader)),
)
def test_headers_survive(peer: PeerHeader, client: ClientHeader) -> None:
    assert codec.decode_peer_header(codec.encode_peer_header(peer)) == peer
    assert codec.decode_client_header(codec.encode_client_header(client)) == client


DECODERS = [
    codec.decode_peer,
    codec.decode_peer_header,
    codec.decode_client_header,
    codec.decode_requests,
    codec.decode_answers,
    codec.sort_requests,
]
GOOD_FRAMES = [
    *codec.encode_peer(
        [
            TimeoutNow(term=3),
            AppendEntries(
                term=1,
                prev_log_index=1,
                prev_log_term=1,
                entries=(Entry(2, 1, EntryKind.COMMAND, b"data"),),
                leader_commit=1,
                read_token=0,
            ),
        ]
    ),
    codec.encode_peer_header(PeerHeader(1, "raft", "n1", "x")),
    codec.encode_requests([Write(1, b"c"), Status(2)]),
    codec.encode_answers([Refused(1, "invalid", "text")]),
]


@quick
@given(decoder=st.sampled_from(DECODERS), frame=st.binary(max_size=200))
def test_garbage_raises_peer_error_and_nothing_else(decoder: Any, frame: bytes) -> None:
    with contextlib.suppress(PeerError):
        decoder(frame)


@quick
@given(
    decoder=st.sampled_from(DECODERS),
    frame=st.sampled_from(GOOD_FRAMES),
    position=st.integers(0, 100),
    byte=st.integers(0, 255),
)
def test_a_changed_byte_raises_peer_error_or_gives_a_message(
    decoder: Any, frame: bytes, position: int, byte: int
) -> None:
    position %= len(frame)
    with contextlib.suppress(PeerError):
        decoder(frame[:position] + bytes([byte]) + frame[position + 1 :])


@pytest.mark.parametrize("frame", GOOD_FRAMES)
def test_every_truncation_is_refused(frame: bytes) -> None:
    for length in range(len(frame)):
        for decoder in DECODERS:
            with pytest.raises(PeerError):
                decoder(frame[:length])


@pytest.mark.parametrize("frame", GOOD_FRAMES)
def test_bytes_behind_the_message_are_refused(frame: bytes) -> None:
    for decoder in DECODERS:
        with pytest.raises(PeerError):
            decoder(frame + b"\xc0")


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "frame",
    [
        b"\x93\xaaTimeoutNow\x01" + b"\x91" * 100_000 + b"\x01",  # nested deeper than the stack
        b"\xdd\xff\xff\xff\xff",  # an array said to hold 2**32 - 1 elements
        b"\x97\xadAppendEntries\x01\x01\x01\xdd\xff\xff\xff\xff",
        b"\x91\x93\xa5Write\x01\xc6\xff\xff\xff\xff",  # bytes said to be 4 GiB
        b"\x92\xa3\xff\xfe\xfd\x01",  # text that is not UTF-8
    ],
)
def test_hostile_frames_give_nothing(decoder: Any, frame: bytes) -> None:
    if decoder is codec.sort_requests and frame[0] == 0x92:
        assert [refusal.request_id for refusal in codec.sort_requests(frame)[1]] == [0, 0]
        return
    with pytest.raises(PeerError):
        decoder(frame)


def test_an_error_quotes_little_of_what_was_sent() -> None:
    with pytest.raises(PeerError) as caught:
        codec.decode_peer(msgspec.msgpack.encode(["x" * 1_000_000, 1]))
    assert len(str(caught.value)) < 400


def test_an_unknown_kind_is_named_and_what_to_do_is_said() -> None:
    with pytest.raises(PeerError, match=r"peer message: expected .*docs/wire-protocol\.md, found .*'Surprise'"):
        codec.decode_peer(b"\x92\xa8Surprise\x01")


def test_a_field_of_a_newer_version_is_skipped() -> None:
    longer = msgspec.msgpack.encode(["TimeoutNow", 3, {"new": [1, 2]}])
    assert codec.decode_peer(longer) == TimeoutNow(term=3)


@pytest.mark.parametrize("term", [-1, 2**63, True, 1.0, "1", None])
def test_a_term_out_of_range_or_of_another_type_is_refused(term: object) -> None:
    with pytest.raises(PeerError):
        codec.decode_peer(msgspec.msgpack.encode(["TimeoutNow", term]))


def test_text_is_no_substitute_for_bytes() -> None:
    with pytest.raises(PeerError):
        codec.decode_requests(msgspec.msgpack.encode([["Write", 1, "text"]]))


@pytest.mark.parametrize("decoder", [codec.decode_requests, codec.sort_requests])
def test_a_batch_has_a_bound(decoder: Any) -> None:
    bound = [Status(1)] * CLIENT_BATCH_MAX
    decoder(codec.encode_requests(bound))
    with pytest.raises(PeerError):
        decoder(codec.encode_requests([*bound, Status(1)]))


@quick
@given(requests=st.lists(messages_of(Request) | st.just(None), min_size=1, max_size=8))
def test_the_good_requests_are_told_from_the_bad(requests: list[Request | None]) -> None:
    frame = msgspec.msgpack.encode([request or ["Surprise", 9] for request in requests])
    good, refusals = codec.sort_requests(frame)
    assert good == [request for request in requests if request]
    assert [(refusal.request_id, refusal.kind) for refusal in refusals] == [(9, "invalid")] * requests.count(None)


def test_a_small_message_stays_small() -> None:
    """A heartbeat's answer is most of an idle cluster's traffic."""
    reply = AppendReply(
        term=7, ok=True, match_index=10_000, prev_log_index=9_999, hint_index=0, hint_term=0, read_token=300
    )
    (frame,) = codec.encode_peer([reply])
    assert len(frame) <= 32


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"x" * 70_000], ids=len)
def test_no_entry_takes_more_around_its_data_than_the_log_reckons_with(data):
    """a batch of entries is cut by that, and a frame beyond the limit would end the connection"""
    entries = tuple(Entry(HIGHEST, HIGHEST, EntryKind.CONFIGURATION, data) for _ in range(100))
    message = AppendEntries(
        term=HIGHEST,
        prev_log_index=HIGHEST,
        prev_log_term=HIGHEST,
        entries=(),
        leader_commit=HIGHEST,
        read_token=HIGHEST,
        quiet=True,
    )
    one, all_of_them = (
        len(codec.encode_peer([msgspec.structs.replace(message, entries=some)])[0]) for some in (entries[:1], entries)
    )
    assert (all_of_them - one) / 99 <= len(data) + ENTRY_BYTES
    assert one - len(data) <= FRAME_MARGIN_BYTES
