"""Log lines: their shape, their levels, and that nothing about stdout can stop a node."""

import datetime
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from raft_zmq.core.events import BecameLeader, Event, SteppedDown
from raft_zmq.observability import events, reference
from raft_zmq.observability.events import Applied, FaultCleared, NodeEvent, PeerRefused
from raft_zmq.observability.log import EventLog, name_of

LEADER = BecameLeader(term=7, last_log_index=3, last_log_term=6, commit_index=2, votes=("n1", "n2"))
APPLIED = Applied(index=8, entry_term=2, digest="00000000000000ff")
REFUSED = PeerRefused(peer="n2", address="", reason="unknown key", count=3)


class Writes(io.BytesIO):
    """Keeps what each call of write got."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []

    def write(self, data) -> int:
        self.calls.append(bytes(data))
        return super().write(data)


def lines(stream: io.BytesIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_fixed_fields_first():
    stream = Writes()
    EventLog("n1", stream=stream).emit(LEADER)
    (line,) = lines(stream)
    assert list(line)[:5] == ["ts", "level", "event", "node", "term"]
    assert datetime.datetime.strptime(line.pop("ts"), "%Y-%m-%dT%H:%M:%S.%fZ")
    assert line == {
        "level": "info",
        "event": "became_leader",
        "node": "n1",
        "term": 7,
        "last_log_index": 3,
        "last_log_term": 6,
        "commit_index": 2,
        "votes": ["n1", "n2"],
    }


def test_the_time_is_now_in_utc():
    stream = Writes()
    before = datetime.datetime.now(datetime.UTC)
    EventLog("n1", stream=stream).emit(LEADER)
    after = datetime.datetime.now(datetime.UTC)
    text = lines(stream)[0]["ts"]
    assert text.endswith("Z")
    assert before <= datetime.datetime.fromisoformat(text) <= after


def test_each_line_is_one_call_of_write():
    stream = Writes()
    log = EventLog("n1", stream=stream)
    log.emit(LEADER)
    log.message("info", "first\nsecond")
    assert [call.endswith(b"\n") and call.count(b"\n") == 1 for call in stream.calls] == [True, True]


def test_a_line_without_a_term_of_its_own_has_the_newest():
    stream = Writes()
    log = EventLog("n1", stream=stream)
    log.message("info", "nothing known yet")
    log.emit(APPLIED, term=5)
    log.emit(LEADER)
    log.emit(FaultCleared())
    log.emit(SteppedDown(term=6, reason="higher_term", last_log_index=1))
    log.message("info", "done")
    assert [line["term"] for line in lines(stream)] == [0, 5, 7, 7, 6, 7]


@pytest.mark.parametrize(
    ("least", "want"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_lines_below_the_least_level_are_left_out(least, want):
    stream = Writes()
    log = EventLog("n1", least, stream)
    log.message("debug", "")
    log.emit(APPLIED)
    log.emit(REFUSED)
    log.message("error", "")
    assert [line["level"] for line in lines(stream)] == want


def test_a_write_cut_short_is_completed():
    class Narrow(io.BytesIO):
        def write(self, data) -> int:
            return super().write(bytes(data[:7]))

    stream = Narrow()
    EventLog("n1", stream=stream).emit(APPLIED, term=1)
    assert lines(stream)[0]["digest"] == "00000000000000ff"


def test_a_closed_stream_is_no_error():
    stream = io.BytesIO()
    stream.close()
    EventLog("n1", stream=stream).emit(APPLIED)


def test_a_reader_that_goes_away_does_not_end_the_process():
    program = (
        "import sys; from raft_zmq.observability.log import EventLog; log = EventLog('n1'); log.message('info', 'one');"
        "sys.stdin.readline();"
        "log.message('info', 'two'); log.message('info', 'three'); print('carried on', file=sys.stderr)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert json.loads(process.stdout.readline())["text"] == "one"
    process.stdout.close()
    _, errors = process.communicate(b"\n", timeout=30)
    assert (process.returncode, errors) == (0, b"carried on\n")


def test_lines_of_several_threads_do_not_mix():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "wb", buffering=0) as writer:
        log = EventLog("n1", stream=writer)
        threads = [
            threading.Thread(target=lambda: [log.message("info", "x" * 5000) for _ in range(20)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        found = [json.loads(reader.readline())["text"] for _ in range(80)]
        for thread in threads:
            thread.join()
    assert found == ["x" * 5000] * 80


def test_the_reference_page_is_what_the_code_says():
    page = Path(__file__).parents[2] / "docs" / "log-events.md"
    assert page.read_text() == reference.reference(), (
        "run: python -m raft_zmq.observability.reference > docs/log-events.md"
    )


def test_the_reference_names_every_event_and_field():
    page = reference.reference()
    for event in (*get_args(Event), *events.EVENTS):
        section = page.split(f"### {name_of(event)}\n")[1].split("###")[0]
        for field in msgspec.structs.fields(event):
            assert field.name == "term" or f"| `{field.name}` |" in section


def test_every_event_of_the_node_is_listed():
    assert set(events.EVENTS) == set(NodeEvent.__subclasses__())


def test_names_are_snake_case():
    names = {name_of(event) for event in (*get_args(Event), *events.EVENTS)}
    assert {"became_pre_candidate", "node_started", "applied", "snapshot_installed", "slow_disk"} <= names
    assert all(name == name.lower() for name in names)
