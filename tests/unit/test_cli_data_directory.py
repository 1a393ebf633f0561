"""`raft-node check` and `raft-node repair`: what is wrong, what would be lost, and no more lost than that."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from raft_zmq.cli.node import run
from raft_zmq.core.errors import RaftLabError, SettingsError
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import HardState
from raft_zmq.storage.errors import CorruptionError, DataDirectoryError
from tests.unit.storage_disks import MEMBERS, log, opened, overwrite, put, put_each

ALONE = Membership(voters=(Member("n1", "h:1", "h:2", "00"),))
LAST = 200


def node(*arguments: object) -> Result:
    return CliRunner().invoke(run, [str(argument) for argument in arguments])


def check(directory: Path, *expected: str, exit_code: int) -> None:
    """The command ends so and says all that, and has changed nothing."""
    before = files(directory)
    result = node("check", directory)
    assert result.exit_code == exit_code, result.output
    missing = [text for text in expected if text not in result.output]
    assert missing == [], result.output
    assert files(directory) == before


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def backup_of(directory: Path) -> dict[str, bytes]:
    (place,) = directory.glob("backup-*")
    return files(place) | {"LOCK": b""}


def made(directory: Path, *, snapshot: int = 0, members: Membership = MEMBERS) -> list[Path]:
    """A log of several segments, and a snapshot; returns the segments."""
    with opened(directory) as storage:
        put(storage, HardState(1, "n2", 0), members)
        put_each(storage, log(1, LAST - 1))
        put(storage, HardState(2, "n1", LAST - 20), None, log(LAST, LAST))
        if snapshot:
            with storage.snapshot_writer(snapshot, 1, members) as writer:
                writer.write(b"state " * 100)
                writer.finish()
            storage.compact(snapshot + 1)
    found = sorted(directory.glob("wal-*.log"))
    assert len(found) >= 2
    return found


def damage(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    overwrite(path, data)


def test_a_sound_directory(tmp_path):
    made(tmp_path, snapshot=50)
    check(tmp_path, "n1 of cluster raft", "snapshot: entry 50 of term 1", "to 200", "vote for n1", "sound", exit_code=0)
    result = node("repair", tmp_path)
    assert (result.exit_code, "nothing to repair" in result.output) == (0, True)
    assert not list(tmp_path.glob("backup-*"))


def test_a_torn_record_is_no_damage(tmp_path):
    last = made(tmp_path)[-1]
    data = last.read_bytes()
    end = len(data.rstrip(b"\0"))
    overwrite(last, data[: end - 30] + bytes(len(data) - end + 30))
    check(tmp_path, "never synced", "the next start cuts it", "sound", exit_code=0)
    opened(tmp_path).close()


def test_a_damaged_log_is_cut_after_a_backup_and_the_node_becomes_another(tmp_path):
    paths = made(tmp_path)
    damage(paths[1], 1000)
    with pytest.raises(CorruptionError) as refused:
        opened(tmp_path)
    offset, before = refused.value.offset, files(tmp_path)
    check(
        tmp_path,
        f"damaged: {paths[1]}, offset {offset}",
        f"would: cut {paths[1].name} at offset {offset}",
        f"to {LAST} at least",
        f"up to {LAST - 20} at least were committed",
        "as a new server",
        exit_code=1,
    )
    result = node("repair", tmp_path)
    assert result.exit_code == 0, result.output
    assert "repaired" in result.output
    assert backup_of(tmp_path) == before
    check(tmp_path, "sound", exit_code=0)
    with opened(tmp_path) as storage:
        entries = storage.stored.entries
        assert entries == tuple(log(1, len(entries)))
        assert f"keep everything up to entry {len(entries)} of term 1" in result.output
        assert f"lose: entries {len(entries) + 1} to {LAST} at least" in result.output
        assert storage.identity.incarnation not in before["identity.json"].decode()
        put(storage, entries=log(len(entries) + 1, len(entries) + 2, term=3))


def test_the_identity_is_kept_on_request_only(tmp_path):
    paths = made(tmp_path, members=ALONE)
    damage(paths[1], 1000)
    identity = (tmp_path / "identity.json").read_bytes()
    before = files(tmp_path)
    result = node("repair", tmp_path)
    assert isinstance(result.exception, SettingsError)
    assert "--keep-identity" in str(result.exception)
    assert files(tmp_path) == before, "the only voter is left alone without a decision"
    result = node("repair", tmp_path, "--keep-identity")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "identity.json").read_bytes() == identity
    opened(tmp_path).close()


@pytest.mark.parametrize("wrong", ["first record", "missing", "cut off", "end of a middle one"])
def test_other_damages_of_the_log(tmp_path, wrong):
    paths = made(tmp_path)
    last = paths[-1].read_bytes()
    if wrong == "first record":
        damage(paths[1], 60)
    elif wrong == "missing":
        paths[1].unlink()
    elif wrong == "cut off":
        overwrite(paths[-1], last[: len(last.rstrip(b"\0")) - 200])
    else:
        data = paths[1].read_bytes()
        overwrite(paths[1], data[: len(data.rstrip(b"\0")) - 200])
    check(tmp_path, "damaged: ", "repair would", exit_code=1)
    result = node("repair", tmp_path)
    assert result.exit_code == 0, result.output
    with opened(tmp_path) as storage:
        entries = storage.stored.entries
        assert entries == tuple(log(1, len(entries)))
        assert 0 < len(entries) < LAST


def test_a_damaged_snapshot_that_the_log_does_not_need_is_removed_and_nothing_lost(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, HardState(1, "n1", 10), MEMBERS, log(1, 20))
        with storage.snapshot_writer(10, 1, MEMBERS) as writer:
            writer.write(b"state")
            writer.finish()
    damage(tmp_path / "snapshot-10-1.snap", 90)
    identity = (tmp_path / "identity.json").read_bytes()
    check(tmp_path, "damaged: ", "remove snapshot-10-1.snap", "would lose: nothing", exit_code=1)
    assert node("repair", tmp_path).exit_code == 0
    assert (tmp_path / "identity.json").read_bytes() == identity
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(1, 20))


@pytest.mark.parametrize("file", ["snapshot-150-1.snap", "identity.json", "wal-0000000001.log"])
def test_where_nothing_is_left_the_node_starts_over(tmp_path, file):
    if file.startswith("wal"):
        damage(made(tmp_path)[0], 42)
    else:
        made(tmp_path, snapshot=150)
        damage(tmp_path / file, 90)
    before = files(tmp_path)
    check(tmp_path, "damaged: ", "an empty disk", f"entries 1 to {LAST} at least", exit_code=1)
    assert node("repair", tmp_path).exit_code == 0
    assert backup_of(tmp_path) == before
    assert list(files(tmp_path)) == ["LOCK"]
    with opened(tmp_path) as storage:
        assert storage.stored.entries == ()


def test_the_backup_goes_where_it_is_told_and_nowhere_else(tmp_path):
    data = tmp_path / "data"
    damage(made(data)[1], 1000)
    before = files(data)
    (tmp_path / "taken").mkdir()
    assert isinstance(node("repair", data, "--backup", tmp_path / "taken").exception, SettingsError)
    assert files(data) == before
    assert node("repair", data, "--backup", tmp_path / "copy").exit_code == 0
    assert files(tmp_path / "copy") | {"LOCK": b""} == before
    assert not list(data.glob("backup-*"))


def test_without_a_backup_nothing_is_touched(tmp_path, monkeypatch):
    damage(made(tmp_path)[1], 1000)
    before = files(tmp_path)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raft_zmq.storage.repair.shutil.copy2", no_room)
    result = node("repair", tmp_path)
    assert isinstance(result.exception, RaftLabError)
    assert "room" in str(result.exception)
    assert files(tmp_path) == before
    assert not list(tmp_path.glob("backup-*"))


@pytest.mark.parametrize("command", ["check", "repair"])
def test_a_directory_in_use_and_one_that_is_none(tmp_path, command):
    with opened(tmp_path / "data"):
        result = node(command, tmp_path / "data")
        assert isinstance(result.exception, DataDirectoryError)
        assert "locked by another process" in str(result.exception)
    for wrong in (tmp_path / "nothing", tmp_path):
        result = node(command, wrong)
        assert isinstance(result.exception, DataDirectoryError)
        assert result.exception.exit_code == 2
    assert not (tmp_path / "nothing").exists()


def test_settings_beside_a_command_are_refused(tmp_path):
    result = node("--node-id", "n1", "check", tmp_path)
    assert result.exit_code == 2
    assert "takes no settings, found --node-id" in result.output


def test_any_flipped_byte_can_be_repaired(tmp_path):
    """Whatever is damaged, a node starts afterwards, on a beginning of its log."""
    paths = made(tmp_path)
    sound = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in paths:
        for position in range(3, 4096, 509):
            for name, data in sound.items():
                name.write_bytes(data)
            damage(path, position)
            result = node("repair", tmp_path, "--backup", tmp_path / "copies" / f"{path.name}-{position}")
            assert result.exit_code == 0, result.output
            with opened(tmp_path) as storage:
                entries = storage.stored.entries
            assert entries in (tuple(log(1, LAST - 1)) + log_end(), tuple(log(1, len(entries))))


def log_end() -> tuple:
    return tuple(log(LAST, LAST))
