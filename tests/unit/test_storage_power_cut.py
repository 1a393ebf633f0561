"""Power cuts at any call to the disk, in any history: what had been synced is there, what had not may be (rule 2)."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from raft_zmq.core.errors import StorageError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState
from raft_zmq.core.stored import Stored
from raft_zmq.storage.storage import Storage
from tests.unit.power_cut import PowerCutDisk
from tests.unit.storage_disks import MEMBERS, entry

HISTORIES = int(os.environ.get("RAFT_POWER_CUTS", "150"))
OPERATIONS = 12  # between two cuts, at most
CUTS = 3  # in one history


class Model(msgspec.Struct, frozen=True):
    """What has to be on disk; `entries` are those behind the snapshot."""

    hard_state: HardState = HardState()
    base_membership: Membership = Membership()
    snapshot: tuple[int, int] = (0, 0)
    entries: tuple[Entry, ...] = ()

    @property
    def last(self) -> int:
        return self.entries[-1].index if self.entries else self.snapshot[0]

    def with_entries(self, first: int, entries: list[Entry]) -> "Model":
        kept = tuple(each for each in self.entries if each.index < first)
        return msgspec.structs.replace(self, entries=kept + tuple(entries))

    def with_snapshot(self, index: int, term: int) -> "Model":
        kept = tuple(each for each in self.entries if each.index > index)
        return msgspec.structs.replace(self, snapshot=(index, term), entries=kept)


def found(stored: Stored) -> Model:
    return Model(
        stored.hard_state,
        stored.base_membership,
        (stored.snapshot_index, stored.snapshot_term),
        tuple(each for each in stored.entries if each.index > stored.snapshot_index),
    )


class History:
    """One directory's life: operations, a cut, a start, and on."""

    def __init__(self, directory: Path, seed: int, segment_bytes: int = 4096) -> None:
        self.rng = random.Random(seed)
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.generation = 0
        self.model = Model()
        self.open()

    def open(self) -> None:
        self.disk = PowerCutDisk(self.directory / f"{self.generation}", self.rng)
        self.start()

    def start(self) -> Stored:
        place = self.directory / f"{self.generation}"
        self.storage = Storage.open(
            place, cluster_id="raft", node_id="n1", segment_bytes=self.segment_bytes, disk=self.disk
        )
        return self.storage.stored

    def restart(self) -> Stored:
        """The process ends and comes back, while the machine runs on; what it finds then."""
        self.storage.close()
        assert self.disk.stays_on()
        return self.start()

    def cut(self) -> Stored:
        """The power goes; what a start finds then."""
        self.generation += 1
        self.disk.leave(self.directory / f"{self.generation}")
        self.storage.close()
        self.disk.close()
        self.open()
        return self.storage.stored

    def close(self) -> None:
        self.storage.close()
        self.disk.close()

    def live(self) -> None:
        """Some operations, in one of which a sync may fail, and in one of which or after which the power goes."""
        self.disk.cut_after = self.rng.randrange(40)
        self.disk.fail_sync_after = self.rng.randrange(80)
        outcomes = [self.model]
        for _ in range(self.rng.randrange(1, OPERATIONS)):
            operation, after = self.rng.choice(
                [self.append, self.overwrite, self.vote, self.take_snapshot, self.install]
            )()
            outcomes = [self.model, *after]
            try:
                operation()
            except StorageError:
                a_sync_failed = self.disk.fail_sync_after < 0
                if self.disk.stays_on():
                    assert a_sync_failed, "nothing but the cut and that sync may fail"
                    self.model = found(self.restart())  # whatever that is, the node builds its promises on it
                    assert self.model in outcomes
                    outcomes = [self.model]
                break
            self.model = after[-1]
            outcomes = [self.model]
        stored = self.cut()
        assert found(stored) in outcomes
        self.model = found(stored)

    # Each gives what to do, and what may be found from then on; the last of them once it is done.

    def append(self, first: int | None = None) -> tuple[Callable[[], None], list[Model]]:
        first = first or self.model.last + 1
        term = self.model.hard_state.current_term
        sizes = [self.rng.choice([0, 30, 700, 3000, 70_000]) for _ in range(self.rng.randrange(1, 4))]
        entries = [entry(first + n, term, self.rng.randbytes(size)) for n, size in enumerate(sizes)]
        return lambda: self.put(entries=entries), [self.model.with_entries(first, entries)]

    def overwrite(self) -> tuple[Callable[[], None], list[Model]]:
        return self.append(self.rng.randrange(self.model.snapshot[0] + 1, self.model.last + 2))

    def vote(self) -> tuple[Callable[[], None], list[Model]]:
        hard_state = HardState(self.model.hard_state.current_term + 1, self.rng.choice(["", "n1", "n2"]), 0)
        after = msgspec.structs.replace(self.model, hard_state=hard_state, base_membership=MEMBERS)
        return lambda: self.put(hard_state=hard_state, base_membership=MEMBERS), [after]

    def take_snapshot(self) -> tuple[Callable[[], None], list[Model]]:
        if not self.model.entries:
            return self.vote()
        last = self.rng.choice(self.model.entries)

        def take() -> None:
            self.write_snapshot(last.index, last.term)
            self.storage.compact(last.index + 1)

        return take, [self.model.with_snapshot(last.index, last.term)]

    def install(self) -> tuple[Callable[[], None], list[Model]]:
        """A leader's snapshot, far ahead: the log goes, at the latest at the next start (rule 20)."""
        of = (self.model.last + 5, self.model.hard_state.current_term)

        def install() -> None:
            self.write_snapshot(*of)
            self.put(reset_to=of)
            self.storage.compact(of[0] + 1)

        return install, [self.model.with_snapshot(*of)]

    def put(self, **what: object) -> None:
        self.storage.write(**what)  # type: ignore[arg-type]
        self.storage.sync()

    def write_snapshot(self, index: int, term: int) -> None:
        with self.storage.snapshot_writer(index, term, MEMBERS) as writer:
            writer.write(self.rng.randbytes(self.rng.choice([10, 5000])))
            writer.finish()


def test_power_cuts_lose_nothing_that_was_synced(tmp_path):
    torn = 0
    for seed in range(HISTORIES):
        (tmp_path / f"{seed}").mkdir()
        history = History(tmp_path / f"{seed}", seed)
        for _ in range(CUTS):
            history.live()
            torn += bool(history.storage.repairs)
            reader = history.storage.open_snapshot()
            if reader is not None:
                with reader:
                    assert len(list(reader.chunks())) == 1
        history.close()
    assert torn > HISTORIES / 20, "hardly a record was torn: the cuts do not reach the log"


@pytest.mark.parametrize("size_bytes", [30, 70_000, 3 << 20])
def test_what_a_start_finds_after_a_failed_sync_outlives_the_power(tmp_path, size_bytes):
    """rule 25: the kernel shows the record that it could not write, and takes its pages for written"""
    history = History(tmp_path, seed=1, segment_bytes=8 << 20)
    history.put(entries=[entry(1)])
    history.disk.fail_sync_after = 0
    with pytest.raises(StorageError):
        history.put(entries=[entry(2, data=bytes([7]) * size_bytes)])
    assert found(history.restart()).last == 2
    assert found(history.cut()).last == 2
    history.close()


@pytest.mark.parametrize("call", ["fdatasync", "sync_directory"])
def test_a_disk_that_lies_about_its_syncs_is_found_out(tmp_path, monkeypatch, call):
    """The net itself: without syncs, something acknowledged is missing after some cut."""
    monkeypatch.setattr(PowerCutDisk, call, lambda self, what: None)
    with pytest.raises((AssertionError, StorageError)):
        test_power_cuts_lose_nothing_that_was_synced(tmp_path)
