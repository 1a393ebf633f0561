"""Whose data directory it is: one node's, for ever, one process at a time (rule 15)."""

import json
import re
from pathlib import Path

import pytest

from raft_zmq.core.errors import StorageError
from raft_zmq.storage.errors import CorruptionError, DataDirectoryError
from tests.unit.storage_disks import TracingDisk, log, opened, overwrite, put


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_incarnation_is_drawn_once(tmp_path):
    with opened(tmp_path / "a") as storage:
        identity = storage.identity
        assert re.fullmatch("[0-9a-f]{16}", identity.incarnation)
    with opened(tmp_path / "a") as storage:
        assert storage.identity == identity
    with opened(tmp_path / "b") as storage:
        assert storage.identity.incarnation != identity.incarnation


def test_it_is_synced_before_it_counts_and_after_the_log(tmp_path):
    disk = TracingDisk()
    with opened(tmp_path, disk=disk):
        calls = [(call, name) for call, name, _ in disk.calls]
    assert calls[-3:] == [
        ("fdatasync", "identity.json.tmp"),
        ("rename", "identity.json"),
        ("sync_directory", tmp_path.name),
    ]
    assert ("rename", "wal-0000000001.log") in calls[:-3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"node_id": "n2"}, "expected node_id 'n2', found 'n1': the data of another node"),
        ({"cluster_id": "other"}, "expected cluster_id 'other', found 'raft': the data of another cluster"),
    ],
)
def test_a_directory_of_another_owner_is_refused_and_left_alone(tmp_path, options, message):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 2))
    before = files(tmp_path)
    with pytest.raises(DataDirectoryError, match=message) as refused:
        opened(tmp_path, **options)
    assert refused.value.exit_code == 2
    assert files(tmp_path) == before


def test_two_nodes_on_one_directory(tmp_path):
    with opened(tmp_path), pytest.raises(DataDirectoryError, match="locked by another process") as refused:
        opened(tmp_path)
    assert refused.value.exit_code == 2
    opened(tmp_path).close()


def test_a_refused_open_gives_the_lock_back(tmp_path):
    opened(tmp_path).close()
    with pytest.raises(DataDirectoryError):
        opened(tmp_path, node_id="n2")
    opened(tmp_path).close()


def test_a_newer_format_is_refused(tmp_path):
    opened(tmp_path).close()
    path = tmp_path / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2, "what_we_do_not_know": {}}))
    with pytest.raises(DataDirectoryError, match="expected format 1 or older, found 2"):
        opened(tmp_path)


def test_a_directory_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/self/fdinfo")):
        with pytest.raises(DataDirectoryError, match="expected a folder this process may read and write"):
            opened(wrong)


def test_an_identity_file_that_cannot_be_read(tmp_path):
    (tmp_path / "identity.json").mkdir()
    with pytest.raises(DataDirectoryError, match="expected a readable file"):
        opened(tmp_path)


def test_every_flipped_byte_of_the_identity_is_noticed(tmp_path):
    with opened(tmp_path) as storage:
        identity = storage.identity
    path = tmp_path / "identity.json"
    sound = path.read_bytes()
    for position in range(len(sound)):
        for mask in (0x01, 0x20, 0xFF):
            overwrite(path, sound[:position] + bytes([sound[position] ^ mask]) + sound[position + 1 :])
            try:
                with opened(tmp_path) as storage:
                    assert storage.identity == identity  # a blank became another blank
            except StorageError:
                pass
    for length in range(len(sound) - 1):
        overwrite(path, sound[:length])
        with pytest.raises(CorruptionError):
            opened(tmp_path)


def test_a_log_without_its_identity_is_refused(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 2))
    (tmp_path / "identity.json").unlink()
    with pytest.raises(CorruptionError, match=r"identity\.json, offset 0: expected it beside the log"):
        opened(tmp_path)


def test_a_crash_during_the_first_start_does_not_matter(tmp_path):
    """The log's first segment is there, the identity was not yet: nothing was promised so far."""
    opened(tmp_path).close()
    (tmp_path / "identity.json").rename(tmp_path / "identity.json.tmp")
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 2))
    assert not (tmp_path / "identity.json.tmp").exists()


def test_an_identity_without_its_log_is_refused(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 2))
    next(tmp_path.glob("wal-*.log")).unlink()
    with pytest.raises(CorruptionError, match="expected the log that goes with the identity"):
        opened(tmp_path)


def test_an_identity_nested_deeply_is_refused(tmp_path):
    opened(tmp_path).close()
    (tmp_path / "identity.json").write_text('{"format": ' + "[" * 100_000)
    with pytest.raises(CorruptionError, match="expected the identity that a node wrote"):
        opened(tmp_path)
