"""Frames to messages and back, strictly: what does not fit its type raises PeerError and goes no further.

A field more than expected at the end of an array is skipped (it comes from a newer version); a kind that is not known
is an error that names it. The sockets bound the size of a frame before anything here sees it.
"""

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from raft_zmq.core.errors import PeerError
from raft_zmq.core.messages import PeerMessage
from raft_zmq.wire.client_messages import Answer, Refused, Request, RequestEnvelope
from raft_zmq.wire.frames import CLIENT_BATCH_MAX, ClientHeader, PeerHeader

_ERROR_CHARACTERS_MAX = 200  # the text may quote what the peer sent, at any length

Buffer = bytes | memoryview | msgspec.Raw

_Batch = msgspec.Meta(max_length=CLIENT_BATCH_MAX)
_T = TypeVar("_T")


_encode = msgspec.msgpack.Encoder().encode
_peer_message: msgspec.msgpack.Decoder[PeerMessage] = msgspec.msgpack.Decoder(PeerMessage)
_peer_header = msgspec.msgpack.Decoder(PeerHeader)
_client_header = msgspec.msgpack.Decoder(ClientHeader)
_requests: msgspec.msgpack.Decoder[list[Request]] = msgspec.msgpack.Decoder(Annotated[list[Request], _Batch])
_answers: msgspec.msgpack.Decoder[list[Answer]] = msgspec.msgpack.Decoder(Annotated[list[Answer], _Batch])
_raw_requests: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(
    Annotated[list[msgspec.Raw], _Batch]
)
_one_request: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_envelope = msgspec.msgpack.Decoder(RequestEnvelope)


def encode_peer(messages: Sequence[PeerMessage]) -> list[bytes]:
    """One frame for each message; at most frames.PEER_MESSAGES_MAX of them go behind one header."""
    return [_encode(message) for message in messages]


def decode_peer(frame: Buffer) -> PeerMessage:
    """The message in a frame behind a PeerHeader."""
    return _decode(_peer_message, frame, "peer message")


def encode_peer_header(header: PeerHeader) -> bytes:
    """Frame 0 of a message between nodes."""
    return _encode(header)


def decode_peer_header(frame: Buffer) -> PeerHeader:
    """Read frame 0 of a message between nodes; whether it is for us is the reader's to judge."""
    return _decode(_peer_header, frame, "peer header")


def encode_client_header(header: ClientHeader) -> bytes:
    """Frame 0 of a message between client and node."""
    return _encode(header)


def decode_client_header(frame: Buffer) -> ClientHeader:
    """Read frame 0 of a message between client and node."""
    return _decode(_client_header, frame, "client header")


def encode_requests(requests: Sequence[Request]) -> bytes:
    """Frame 1 from a client: at most frames.CLIENT_BATCH_MAX requests."""
    return _encode(requests)


def decode_requests(frame: Buffer) -> list[Request]:
    """All requests of a frame, or PeerError when one of them is bad."""
    return _decode(_requests, frame, "requests")


def encode_answers(answers: Sequence[Answer]) -> bytes:
    """Frame 1 to a client: at most frames.CLIENT_BATCH_MAX answers."""
    return _encode(answers)


def decode_answers(frame: Buffer) -> list[Answer]:
    """All answers of a frame, or PeerError when one of them is bad."""
    return _decode(_answers, frame, "answers")


def sort_requests(frame: Buffer) -> tuple[list[Request], list[Refused]]:
    """Tell the good requests of a frame from the bad, each of which gets its refusal; slower than decode_requests.

    The refusal bears the request's own id where that can be read, else 0. Raises PeerError when the frame is not an
    array at all.
    """
    requests: list[Request] = []
    refusals: list[Refused] = []
    for raw in _decode(_raw_requests, frame, "requests"):
        try:
            requests.append(_decode(_one_request, raw, "request"))
        except PeerError as error:
            refusals.append(Refused(_readable_id(raw), "invalid", str(error)))
    return requests, refusals


def _readable_id(raw: msgspec.Raw) -> int:
    try:
        return _decode(_envelope, raw, "request").request_id
    except PeerError:
        return 0


def _decode(decoder: msgspec.msgpack.Decoder[_T], frame: Buffer, what: str) -> _T:
    """Every way in which bytes can be wrong ends as PeerError: RecursionError is what deep nesting raises."""
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        found = str(error)[:_ERROR_CHARACTERS_MAX]
        raise PeerError(
            f"{what}: expected a frame as in docs/wire-protocol.md, found {len(frame)} bytes: {found}"
        ) from error
