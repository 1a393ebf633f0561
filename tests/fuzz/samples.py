"""Sound inputs of each reader, for a fuzzer to begin from: what the writers write, wrapped as readers.py takes it."""

import msgspec

from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import AppendEntries, Entry, EntryKind, HardState, InstallSnapshot, VoteRequest
from raft_zmq.state_machine.kv import KeyValueStore
from raft_zmq.state_machine.replica import Replica
from raft_zmq.storage.record import Record
from raft_zmq.storage.snapshot_file import SnapshotMeta
from raft_zmq.wire import client_messages as client
from raft_zmq.wire import codec, commands
from raft_zmq.wire.frames import ClientHeader, PeerHeader
from tests.fuzz.readers import AS_IT_IS, VARIABLES, WITH_CHECKSUMS, file_of, joined, segments_of

_MEMBERS = Membership(voters=(Member("n1", "h:1", "h:2", "00"), Member("n2", "h:3", "h:4", "01")))
_ENTRIES = tuple(Entry(index, 1, EntryKind.COMMAND, b"command %d" % index) for index in (1, 2, 3))

_encode = msgspec.msgpack.encode


def _wire() -> list[bytes]:
    operations: list[object] = [
        commands.Put(b"key", b"value"),
        commands.CompareAndSwap(b"key", None, b"value"),
        commands.Increment(b"key", -1),
        commands.Get(b"key"),
        commands.Scan(b"k", 10, b""),
        commands.OpenSession(b"nonce"),
        commands.AdvanceClock(1000, 1),
        commands.SessionCommand(1, 1, 0, _encode(commands.Append(b"key", b"value"))),
    ]
    peer = [
        AppendEntries(term=1, prev_log_index=0, prev_log_term=0, entries=_ENTRIES, leader_commit=2, read_token=1),
        InstallSnapshot(term=1, last_index=3, last_term=1, membership=_encode(_MEMBERS), offset=0, data=b"chunk"),
        VoteRequest(term=2, last_log_index=3, last_log_term=1, pre_vote=True, transfer=False),
    ]
    requests: list[client.Request] = [
        client.Write(1, _encode(operations[-1])),
        client.Read(2, _encode(operations[3])),
        client.ChangeMembers(3, add=(Member("n3", "h:5", "h:6"),), remove=("n1",)),
        client.InjectFault(4, "delay", ("n2",), 0.5, 0.1),
        client.LogRange(5, 1, 10),
    ]
    answers: list[client.Answer] = [
        client.Done(1, b"\xc0"),
        client.Redirect(2, "n2", "h:4"),
        client.Busy(3, 0.05),
        client.Refused(4, "invalid", "expected this, found that"),
    ]
    return [
        b"\0" + codec.encode_peer_header(PeerHeader(1, "raft", "n1", "00", "h:1")),
        *(b"\1" + frame for frame in codec.encode_peer(peer)),
        b"\2" + codec.encode_client_header(ClientHeader(1, "raft")),
        b"\3" + codec.encode_requests(requests),
        b"\4" + codec.encode_answers(answers),
        *(b"c" + _encode(operation) for operation in operations),
    ]


def _log() -> list[bytes]:
    start = Record(HardState(), Membership(), (0, 0), (), 4096)
    records = [
        Record(HardState(1, "n1", 0), _MEMBERS),
        Record(entries=_ENTRIES),
        Record(HardState(2, "n2", 1), None, None, (Entry(2, 2, EntryKind.NOOP, b""),)),
    ]
    following = Record(HardState(2, "n2", 1), _MEMBERS, (2, 2), (), 4096)
    after = [Record(None, None, (9, 3)), Record(entries=(Entry(10, 3, EntryKind.NOOP, b""),))]
    first = [_encode(record) for record in (start, *records)]
    second = [_encode(record) for record in (following, *after)]
    return [
        WITH_CHECKSUMS + joined(first),
        WITH_CHECKSUMS + joined([*first, b"", *second]),
        AS_IT_IS + segments_of(joined(first))[0],
    ]


def _snapshot() -> list[bytes]:
    machine = KeyValueStore()
    replica = Replica(machine)
    opened = Entry(1, 1, EntryKind.COMMAND, _encode(commands.OpenSession(b"nonce")))
    put = commands.SessionCommand(1, 1, 0, _encode(commands.Put(b"key", b"value")))
    replica.apply([opened, Entry(2, 1, EntryKind.COMMAND, _encode(put))])
    parts = joined([_encode(SnapshotMeta(2, 1, _MEMBERS, b"digest")), *replica.snapshot()])
    return [WITH_CHECKSUMS + parts, AS_IT_IS + file_of(parts)]


def _settings() -> list[bytes]:
    return [
        b"fnode_id: n1\nmembers: n1=h:1:2,n2=h:3:4\npre_vote: true\nheartbeat_interval_s: 0.05\nsegment_bytes: 4096\n",
        b"f# comment\njoin: true\nnode_id: 'n9'\nlog_level: \"debug\"\nclock_drift_max: 1e-2\n",
        VARIABLES + b"RAFT_NODE_ID=n1\nRAFT_MEMBERS=n1=h:1:2\nRAFT_LEASE_READS=true\nRAFT_SLOW_DISK_S=0.5\n",
    ]


SAMPLES = {"wire": _wire, "log": _log, "snapshot": _snapshot, "settings": _settings}
