"""docs/wire-protocol.md says what the code does: its examples byte by byte, its messages field by field."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from raft_zmq.core import membership
from raft_zmq.core.messages import AppendEntries, Entry, EntryKind, PeerMessage
from raft_zmq.state_machine import sessions
from raft_zmq.wire import client_messages as client
from raft_zmq.wire import codec, commands, frames

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire-protocol.md").read_text()

encode = msgspec.msgpack.encode

OPENING = commands.OpenSession(b"\x01\x02\x03\x04")
PUTTING = commands.SessionCommand(17, 1, 0, encode(commands.Put(b"color", b"red")))

EXAMPLES: dict[str, tuple[Any, Any]] = {  # the message, and the type to decode it as
    "client-header": (frames.ClientHeader(1, "raft"), frames.ClientHeader),
    "open-session-requests": ([client.Write(1, encode(OPENING))], list[client.Request]),
    "open-session-answers": ([client.Done(1, encode(commands.Outcome(17)))], list[client.Answer]),
    "put-requests": ([client.Write(2, encode(PUTTING))], list[client.Request]),
    "put-answers": ([client.Done(2, encode(commands.Outcome()))], list[client.Answer]),
    "get-requests": (
        [client.Read(3, encode(commands.Get(b"color"))), client.LogRange(4, 17)],
        list[client.Request],
    ),
    "get-answers": ([client.Done(3, encode(commands.Outcome(b"red")))], list[client.Answer]),
    "redirect-answers": ([client.Redirect(2, "raft-1", "raft-1.raft-headless:6000")], list[client.Answer]),
    "compare-and-swap": (commands.CompareAndSwap(b"color", None, b"blue"), commands.Operation),
    "increment": (commands.Increment(b"hits", -1), commands.Operation),
    "scan-outcome": (commands.Outcome([(b"color", b"red")]), commands.Outcome),
    "peer-header": (
        frames.PeerHeader(1, "raft", "raft-0", "8f1c2d3e", "raft-0.raft-headless:6001"),
        frames.PeerHeader,
    ),
    "append-entries": (
        AppendEntries(
            term=3,
            prev_log_index=16,
            prev_log_term=2,
            entries=(Entry(17, 3, EntryKind.COMMAND, encode(OPENING)),),
            leader_commit=16,
            read_token=5,
        ),
        PeerMessage,
    ),
}

TAGGED = [
    *get_args(client.Request),
    *get_args(client.Answer),
    *get_args(commands.Operation),
    *get_args(commands.Query),
    *get_args(commands.Command),
    *get_args(PeerMessage),
]
UNTAGGED = [frames.ClientHeader, frames.PeerHeader, client.LogEntry, commands.Outcome, membership.Member, Entry]


def document_examples() -> dict[str, bytes]:
    blocks = re.findall(r"^```hex (\S+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len({name for name, _ in blocks}) == len(blocks)
    return {name: bytes.fromhex(re.sub(r"#.*", "", content)) for name, content in blocks}


def test_the_document_has_exactly_these_examples() -> None:
    assert set(document_examples()) == set(EXAMPLES)
    assert DOCUMENT.count("```hex") == len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_the_code_writes_and_reads(name: str) -> None:
    message, expected_type = EXAMPLES[name]
    written = document_examples()[name]
    assert encode(message).hex(" ") == written.hex(" ")
    assert msgspec.msgpack.decode(written, type=expected_type) == message


def test_the_codec_writes_the_examples() -> None:
    examples = document_examples()
    assert codec.encode_client_header(EXAMPLES["client-header"][0]) == examples["client-header"]
    assert codec.encode_requests(EXAMPLES["put-requests"][0]) == examples["put-requests"]
    assert codec.encode_answers(EXAMPLES["redirect-answers"][0]) == examples["redirect-answers"]
    assert codec.encode_peer_header(EXAMPLES["peer-header"][0]) == examples["peer-header"]
    assert codec.encode_peer([EXAMPLES["append-entries"][0]]) == [examples["append-entries"]]


def described() -> set[str]:
    """Every array that the document describes, without line breaks."""
    return {" ".join(span.split()) for span in re.findall(r"`(\[[^`]*\])`", DOCUMENT)}


def description(kind: type[msgspec.Struct]) -> str:
    """How the document has to describe that message."""
    tag = kind.__struct_config__.tag
    parts = [] if tag is None else [json.dumps(tag)]
    for field in msgspec.structs.fields(kind):
        default = field.default
        if default is msgspec.NODEFAULT:
            parts.append(field.name)
        elif default is None:
            parts.append(f"{field.name}=nil")
        else:
            text = default.decode() if isinstance(default, bytes) else default
            parts.append(f"{field.name}={json.dumps(text)}")
    return f"[{', '.join(parts)}]"


@pytest.mark.parametrize("kind", [*TAGGED, *UNTAGGED], ids=lambda kind: kind.__name__)
def test_every_message_is_described_with_its_fields(kind: type[msgspec.Struct]) -> None:
    assert description(kind) in described()


def test_nothing_else_is_described() -> None:
    known = {description(kind) for kind in (*TAGGED, *UNTAGGED)}
    assert described() - known == {"[key, value]"}


def test_the_limits_are_those_of_the_code() -> None:
    assert f"at most {frames.CLIENT_BATCH_MAX} of them" in DOCUMENT
    assert f"1 to {frames.PEER_MESSAGES_MAX} frames" in " ".join(DOCUMENT.split())
    assert f"1 to {commands.KEY_BYTES_MAX:,} bytes, values up to {commands.VALUE_BYTES_MAX >> 20} MiB" in DOCUMENT
    assert f"`nonce` is `bin` of 1 to {sessions.NONCE_BYTES_MAX} bytes" in DOCUMENT
    assert f"{frames.PROTOCOL_VERSION} and the cluster's name" in DOCUMENT
