"""Files as a run of the lab leaves them: a cluster of three in which the first leader is killed and comes back."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from client.linearizability import Operation
from tests.unit.histories import recorded

MEMBERS = ("raft-0", "raft-1", "raft-2")
Line = dict[str, Any]


def digest(index: int) -> str:
    return hashlib.sha256(f"entries up to {index}".encode()).hexdigest()[:16]


class Writer:
    """One node's log lines; time goes on by a step for each line unless it is set."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.seconds = 0.0
        self.lines: list[Line] = []

    def at(self, seconds: float) -> "Writer":
        self.seconds = seconds
        return self

    def line(self, event: str, term: int, **fields: Any) -> None:
        stamp = f"2026-05-04T12:00:{self.seconds:09.6f}Z"
        self.seconds += 0.001
        head = {"ts": stamp, "level": "info", "event": event, "node": self.node, "term": term}
        self.lines.append({**head, **fields})

    def started(self, term: int, last_log_index: int = 0, last_log_term: int = 0) -> None:
        self.line(
            "node_started",
            term,
            version="0.1.0",
            cluster_id="raft",
            incarnation=f"disk-of-{self.node}",
            members=MEMBERS,
            last_log_index=last_log_index,
            last_log_term=last_log_term,
            snapshot_index=0,
        )

    def applied(self, term: int, first: int, last: int, first_of_term_2: int = 41) -> None:
        for power in range(12):
            if first <= 2**power <= last:
                entry_term = 1 if 2**power < first_of_term_2 else 2
                self.line("applied", term, index=2**power, entry_term=entry_term, digest=digest(2**power))


def node_logs() -> dict[str, list[Line]]:
    """raft-0 leads term 1 up to entry 40 and is killed at 4 s; raft-1 leads term 2; raft-0 is back at 6 s."""
    zero, one, two = (Writer(node) for node in MEMBERS)
    for writer in (zero, one, two):
        writer.at(0.0).started(0)
        writer.line("became_follower", 0, leader_id="")
        for peer in MEMBERS:
            if peer != writer.node:
                writer.line("peer_connected", 0, peer=peer, address=f"{peer}:6001")
    zero.at(1.0).line("became_pre_candidate", 0, last_log_index=0, last_log_term=0)
    zero.line("became_candidate", 1, last_log_index=0, last_log_term=0, transfer=False)
    for writer in (one, two):
        writer.at(1.01).line("vote_granted", 1, candidate_id="raft-0")
    zero.line(
        "became_leader", 1, last_log_index=0, last_log_term=0, commit_index=0, votes=["raft-0", "raft-1", "raft-2"]
    )
    for writer in (one, two):
        writer.at(1.05).line("became_follower", 1, leader_id="raft-0")
        writer.line("leader_elected", 1, leader_id="raft-0")
    for writer in (zero, one, two):
        writer.at(2.0).applied(1, 1, 40)
    two.at(2.5).line("fault_injected", 1, kind="delay", peers=["raft-0"], share=1.0, seconds=0.01)
    two.at(3.0).line("fault_cleared", 1)
    one.at(4.3).line("peer_lost", 1, peer="raft-0", address="raft-0:6001")
    one.line("became_pre_candidate", 1, last_log_index=40, last_log_term=1)
    one.line("became_candidate", 2, last_log_index=40, last_log_term=1, transfer=False)
    two.at(4.35).line("vote_granted", 2, candidate_id="raft-1")
    one.at(4.36).line(
        "became_leader", 2, last_log_index=40, last_log_term=1, commit_index=40, votes=["raft-1", "raft-2"]
    )
    two.line("became_follower", 2, leader_id="raft-1")
    two.line("leader_elected", 2, leader_id="raft-1")
    zero.at(6.0).line("storage_repaired", 1, file="1.wal", offset=4096, bytes=17, reason="torn tail")
    zero.started(1, last_log_index=42, last_log_term=1)
    zero.line("became_follower", 2, leader_id="raft-1")
    zero.line("leader_elected", 2, leader_id="raft-1")
    zero.line("log_truncated", 2, first_index=41, last_index=42, commit_index=40)
    zero.applied(2, 1, 40)
    for writer in (zero, one, two):
        writer.at(7.0).applied(2, 41, 600)
    two.line("snapshot_taken", 2, index=500, entry_term=2, digest=digest(500), total_bytes=4096, seconds=0.01)
    one.at(8.0).line("stepped_down", 2, reason="transferred", last_log_index=600)
    for writer in (zero, two, one):
        writer.at(9.0).line("node_stopped", 2, reason="SIGTERM")
    return {"raft-0": zero.lines, "raft-1": one.lines, "raft-2": two.lines}


def history_lines(operations: list[Operation]) -> list[str]:
    return [msgspec.json.encode(operation).decode() for operation in operations]


CLIENT_LOG = """\
client    raft-client at http://client.raft.svc:8080
service   service-raft:6000

Step 1: find the leader
    expected: one leader that two of three nodes name
    got:      raft-0, in term 1
    ok (12 ms)

Step 2: write ten keys & read them back <carefully>
    expected: ten values as written
    got:      ten values as written
    ok (31 ms)

RESULT: passed, 2 of 2 steps held
"""


class Sample:
    """A folder to be filled; every part may be changed before it is written."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Line]] = node_logs()
        self.operations = recorded(5, operations=300, clients=4, keys=4, unknown=0.01)
        self.client_log = CLIENT_LOG
        self.kubectl_stamps = False

    def doctor(self, node: str, which: Callable[[Line], bool], **fields: Any) -> None:
        """Change the first line of that node for which `which` says so."""
        next(line for line in self.logs[node] if which(line)).update(fields)

    def read(self, number: int) -> int:
        """The place of the `number`-th answered read that shows a value; from the end when negative."""
        reads = [
            place
            for place, one in enumerate(self.operations)
            if one.op == "get" and one.result == "ok" and one.output is not None
        ]
        return reads[number]

    def write(self, folder: Path) -> Path:
        for node, lines in self.logs.items():
            self._write(folder / f"{node}.log", [json.dumps(line) for line in lines])
        self._write(folder / "client.log", self.client_log.splitlines())
        (folder / "history.jsonl").write_text("".join(f"{line}\n" for line in history_lines(self.operations)))
        return folder

    def _write(self, path: Path, lines: list[str]) -> None:
        stamp = "2026-05-04T12:00:00.123456789Z " if self.kubectl_stamps else ""
        path.write_text("".join(f"{stamp}{line}\n" for line in lines))
