"""A node whose next record finds no room on the disk: what it tells meanwhile must be true of the disk."""

import threading
from pathlib import Path
from typing import Any

import pytest

from client.verify.checks.elections import terms_never_go_back
from client.verify.facts import NodeLog, Run
from client.verify.gather import read_node_log
from client.verify.lines import TextLine
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, EntryKind, HardState
from raft_zmq.node import Node
from raft_zmq.settings import load
from raft_zmq.storage.storage import Storage
from tests.lone_node import lone_node
from tests.unit.storage_disks import FullDisk, wait_until

TERM = 5
SEGMENT_BYTES = 4096  # the least: one page
ROOM_BYTES = 64  # so much is left of it, less than any record takes


def fill(data_dir: Path) -> None:
    """Make it the disk of a cluster of one in TERM, its log full."""
    storage = Storage.open(data_dir, cluster_id="raft", node_id="n1", segment_bytes=SEGMENT_BYTES)
    voter = Member("n1", incarnation=storage.identity.incarnation)
    storage.write(HardState(TERM), Membership(voters=(voter,)))
    storage.sync()
    index = 0
    while storage.room_bytes > ROOM_BYTES:
        index += 1
        storage.write(entries=[Entry(index, TERM, EntryKind.COMMAND, bytes(storage.room_bytes // 4))])
        storage.sync()
    storage.close()


def life_of(settings: dict[str, Any], until_stuck: bool) -> None:
    node = Node(load(settings, {}), disk=FullDisk(room_bytes=0))
    if not until_stuck:
        node.stop("it has started")
    thread = threading.Thread(target=node.run)
    thread.start()
    if until_stuck:
        wait_until(lambda: node._stuck)
        node.stop("it will not find room")
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> NodeLog:
    """Of a node that begins a term it has no room for, and of the next one on that disk: what they told."""
    fill(tmp_path)
    settings = lone_node(tmp_path, segment_bytes=SEGMENT_BYTES)
    capfd.readouterr()
    life_of(settings, until_stuck=True)
    life_of(settings, until_stuck=False)
    lines = enumerate(capfd.readouterr().out.splitlines(), start=1)
    return read_node_log("n1.log", [TextLine(f"n1.log:{number}", text) for number, text in lines])


def test_no_line_shows_a_term_that_is_not_on_the_disk(log):
    """Figure 2, §5.1: it is gone with the process, and the next one would seem to have gone back"""
    stuck, after = log.lives
    assert [line.term for line in stuck.lines if line.level == "error"] == [TERM]
    assert {line.term for line in (*stuck.lines, *after.lines)} == {TERM}


def test_the_judge_passes_who_found_no_room_for_a_term(log):
    """§5.1: healthy nodes are not blamed"""
    assert terms_never_go_back(Run(logs=[log])).violations == []
