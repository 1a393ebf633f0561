"""The four readers, each as a function of any bytes that returns, or fails with what no input may cause.

A reader may refuse its input with the one error meant for it. What it takes must hold together and, where there is a
writer, be what that would have written. The log's and the snapshot's checksums would keep a fuzzer from ever getting
behind them, so these two take either a file as it is, or the contents of its records, which are given good checksums.
"""
# ruff: noqa: PT017  (a refusal is expected for some inputs only, and then has to hold something)

import atexit
import functools
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from raft_zmq.core.errors import PeerError, SettingsError, StorageError
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.settings import Settings, load
from raft_zmq.state_machine.kv import KeyValueStore
from raft_zmq.state_machine.replica import Replica
from raft_zmq.storage import record
from raft_zmq.storage.errors import CorruptionError
from raft_zmq.storage.replay import Replay, read_log, segment_path
from raft_zmq.storage.snapshot_file import CHUNK, END, META, SnapshotReader, encode_block, encode_end
from raft_zmq.wire import codec

LENGTH_BYTES = 2  # in front of each piece, see `pieces`
PIECE_BYTES_MAX = 256**LENGTH_BYTES - 1
SEGMENT_BYTES = 4096
OUTCOME_BYTES_MAX = 16 << 10  # what state_machine/interface.py promises; these inputs find an empty store
AS_IT_IS, WITH_CHECKSUMS = b"f", b"c"  # an input's first byte

_WIRE: tuple[tuple[Callable[[bytes], object], Callable[..., bytes]], ...] = (
    (codec.decode_peer_header, codec.encode_peer_header),
    (codec.decode_peer, lambda message: codec.encode_peer([message])[0]),
    (codec.decode_client_header, codec.encode_client_header),
    (codec.decode_requests, codec.encode_requests),
    (codec.decode_answers, codec.encode_answers),
)
VARIABLES = b"v"  # the first byte of settings that come from the environment; any other is a file


def wire(data: bytes) -> None:
    """Frames from peers and clients, and what the state machine makes of a command or a query."""
    kind, frame = data[:1], data[1:]
    if kind == b"c":
        _apply(frame)
        return
    decode, encode = _WIRE[kind[0] % len(_WIRE) if kind else 0]
    try:
        message = decode(frame)
    except PeerError as error:
        assert len(str(error)) < 500, "the text must not grow with the frame"
    else:
        again = encode(message)
        assert encode(decode(again)) == again
    if decode is codec.decode_requests:
        _sort(frame)


def _sort(frame: bytes) -> None:
    try:
        good, refused = codec.sort_requests(frame)
    except PeerError:
        return
    assert len(good) + len(refused) <= codec.CLIENT_BATCH_MAX
    if not refused:
        assert codec.encode_requests(good) == codec.encode_requests(codec.decode_requests(frame))


def _apply(command: bytes) -> None:
    """Whatever a client puts into the log, every node applies it."""
    machine = KeyValueStore()
    replica = Replica(machine)
    entries = [Entry(1, 1, EntryKind.COMMAND, b"\x92\x02\xc4\x01n"), Entry(2, 1, EntryKind.COMMAND, command)]
    outcomes = replica.apply(entries)
    outcomes += machine.apply([command])
    outcomes.append(machine.query(command))
    assert all(outcome is not None and len(outcome) < OUTCOME_BYTES_MAX for outcome in outcomes)


def log(data: bytes) -> None:
    """One or two segments of the write-ahead log."""
    directory = _scratch("log")
    path = segment_path(directory, 1)
    for former in directory.iterdir():
        former.unlink()
    if data[:1] == WITH_CHECKSUMS:
        for number, segment in enumerate(segments_of(data[1:]), start=1):
            segment_path(directory, number).write_bytes(segment)
    else:
        path.write_bytes(data[1:])
    try:
        replay = read_log(directory)
    except CorruptionError as refused:
        assert refused.file.parent == directory
        assert 0 <= refused.offset <= max(segment.stat().st_size for segment in directory.iterdir())
    else:
        _check(replay)


def _check(replay: Replay) -> None:
    for offset, entry in enumerate(replay.entries, start=1):
        assert entry.index == replay.start_index + offset
    for segment in replay.segments:
        assert 0 < segment.used_bytes <= segment.size_bytes
    last = replay.segments[-1]
    torn = replay.torn
    assert torn is None or (torn.offset == last.used_bytes and 0 < torn.bytes <= last.size_bytes - torn.offset)


def segments_of(data: bytes) -> list[bytes]:
    """Segments whose records have these pieces as bodies; an empty piece begins the next segment."""
    segments = [bytearray()]
    sequence = 0
    for body in pieces(data):
        if not body and segments[-1]:
            segments.append(bytearray())
            continue
        sequence += 1
        segment = segments[-1]
        frame = bytearray(record.HEADER.size) + body
        frame += bytes(record.frame_end(0, len(body)) - len(frame))
        record.seal([frame], len(body), len(segments), len(segment), sequence, 1)
        segment += frame
    for segment in segments:
        segment += bytes(-len(segment) % SEGMENT_BYTES)
    return [bytes(segment) for segment in segments]


def snapshot(data: bytes) -> None:
    """A snapshot file, and the state machine that is restored from it."""
    path = _scratch("snapshot") / "snapshot-1-1.snap"
    content = file_of(data[1:]) if data[:1] == WITH_CHECKSUMS else data[1:]
    path.write_bytes(content)
    try:
        with SnapshotReader(path) as reader:
            chunks = list(reader.chunks())
    except CorruptionError as refused:
        assert 0 <= refused.offset <= len(content)
        return
    assert sum(len(chunk) for chunk in chunks) < len(content)
    machine = KeyValueStore()
    replica = Replica(machine)
    try:
        replica.restore(chunks)
    except StorageError:
        assert (replica.last_applied, len(machine)) == (0, 0)


def file_of(data: bytes) -> bytes:
    """A snapshot file whose blocks hold these pieces; the first is what the snapshot is of."""
    content, crc = b"", 0
    parts = pieces(data)
    for number, piece in enumerate(parts):
        header, crc = encode_block(CHUNK if number else META, number, piece, crc)
        content += header + piece
    end = encode_end(len(parts) - 1, len(content)) if parts else b""
    return content + encode_block(END, len(parts), end, crc)[0] + end


def settings(data: bytes) -> None:
    """A settings file, or variables as NAME=value lines."""
    kind, text = data[:1], data[1:]
    file = None
    environment: dict[str, str] = {}
    if kind == VARIABLES:
        lines = text.decode(errors="replace").splitlines()
        environment = dict(line.split("=", 1) for line in lines if "=" in line)
    else:
        file = _scratch("settings") / "raft.yaml"
        file.write_bytes(text)
    try:
        loaded = load({"auth": "none"}, environment, file)
    except SettingsError as error:
        assert "expected" in str(error)
        assert "\n" not in str(error)
    else:
        _check_settings(loaded)


def _check_settings(loaded: Settings) -> None:
    values = msgspec.structs.asdict(loaded)
    assert all(math.isfinite(value) for value in values.values() if isinstance(value, float))
    assert msgspec.convert(values, Settings) == loaded
    assert loaded.node_id


def pieces(data: bytes) -> list[bytes]:
    """Cut up at lengths of two bytes: any bytes are some pieces, and small changes stay small."""
    found = []
    while len(data) >= LENGTH_BYTES:
        end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
        found.append(data[LENGTH_BYTES:end])
        data = data[end:]
    return found


def joined(parts: list[bytes]) -> bytes:
    """The bytes that `pieces` cuts into these."""
    return b"".join(len(part).to_bytes(LENGTH_BYTES, "big") + part for part in parts)


@functools.cache
def _scratch(name: str) -> Path:
    """A folder of this process, in memory where there is such a place."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


READERS: dict[str, Callable[[bytes], None]] = {"wire": wire, "log": log, "snapshot": snapshot, "settings": settings}
