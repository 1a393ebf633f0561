"""Any history of writes, snapshots, restarts and power cuts, against a model made of lists."""

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raft_zmq.core.errors import StorageError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState
from tests.unit.storage_disks import MEMBERS, TearingDisk, entry, opened, put

SIZES = st.sampled_from([0, 1, 7, 100, 700, 3000, 9000])


class StorageModel(RuleBasedStateMachine):
    """The log of the model is a dict, index to entry, complete from its first write on."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="storage-model-"))
        self.disk = TearingDisk()
        self.storage = opened(self.directory, disk=self.disk)
        self.hard_state = HardState()
        self.base_membership = Membership()
        self.entries: dict[int, Entry] = {}
        self.last = 0
        self.snapshot = (0, 0)

    def teardown(self) -> None:
        self.storage.close()
        shutil.rmtree(self.directory)

    def new_entries(self, first: int, sizes: list[int]) -> list[Entry]:
        term = self.hard_state.current_term
        return [entry(first + n, term, bytes([n + 1]) * size) for n, size in enumerate(sizes)]

    def take_over(self, entries: list[Entry]) -> None:
        for each in entries:
            self.entries[each.index] = each
        self.last = entries[-1].index
        self.entries = {index: each for index, each in self.entries.items() if index <= self.last}

    @initialize(known=st.booleans())
    def begin(self, known: bool) -> None:
        if known:
            self.base_membership = MEMBERS
            put(self.storage, base_membership=MEMBERS)

    @rule(voted_for=st.sampled_from(["", "n1", "n2"]))
    def new_term(self, voted_for: str) -> None:
        self.hard_state = HardState(self.hard_state.current_term + 1, voted_for, self.hard_state.commit_index)
        put(self.storage, self.hard_state)

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        entries = self.new_entries(self.last + 1, sizes)
        put(self.storage, entries=entries)
        self.take_over(entries)

    @precondition(lambda self: self.last > self.snapshot[0])
    @rule(data=st.data(), sizes=st.lists(SIZES, min_size=1, max_size=3))
    def overwrite(self, data: st.DataObject, sizes: list[int]) -> None:
        self.new_term("")
        entries = self.new_entries(data.draw(st.integers(self.snapshot[0] + 1, self.last)), sizes)
        put(self.storage, self.hard_state, entries=entries)
        self.take_over(entries)

    @precondition(lambda self: self.last > self.snapshot[0])
    @rule(data=st.data())
    def take_snapshot(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.snapshot[0] + 1, self.last))
        self.snapshot = (index, self.entries[index].term)
        self.write_snapshot()

    def write_snapshot(self) -> None:
        with self.storage.snapshot_writer(*self.snapshot, MEMBERS) as writer:
            writer.write(b"state")
            writer.finish()

    @rule(keep=st.integers(0, 20))
    def compact(self, keep: int) -> None:
        self.storage.compact(self.snapshot[0] + 1 - keep)

    @rule(beyond=st.integers(1, 5), crash=st.booleans())
    def install_snapshot(self, beyond: int, crash: bool) -> None:
        """Of a leader far ahead; the process may be killed between the snapshot and the reset of the log."""
        self.new_term("")
        self.snapshot = (self.last + beyond, self.hard_state.current_term)
        self.write_snapshot()
        if crash:
            self.reopen()
        else:
            put(self.storage, reset_to=self.snapshot)
        self.entries, self.last = {}, self.snapshot[0]

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=3), data=st.data())
    def cut_the_power(self, sizes: list[int], data: st.DataObject) -> None:
        """While a record is on its way: any of its sectors may be missing."""
        entries = self.new_entries(self.last + 1, sizes)
        hard_state = HardState(self.hard_state.current_term, "n2", 0)
        self.storage.write(hard_state, None, entries)
        there = data.draw(st.lists(st.booleans(), min_size=1, max_size=40))

        def keep(record: bytes, offset: int) -> bytes:
            return b"".join(
                bytes([byte]) if there[(offset + n) // 512 % len(there)] else b"\0" for n, byte in enumerate(record)
            )

        self.disk.keep = keep
        with pytest.raises(StorageError):
            self.storage.sync()
        self.disk.keep = None
        self.reopen()
        if self.storage.stored.entries[-1:] == tuple(entries[-1:]):
            self.take_over(entries)
            self.hard_state = hard_state

    @rule()
    def reopen(self) -> None:
        self.storage.close()
        self.storage = opened(self.directory, disk=self.disk)
        self.reopened = True

    reopened = False

    @invariant()
    def what_a_restart_found_is_what_the_model_says(self) -> None:
        if not self.reopened:
            return
        self.reopened = False
        stored = self.storage.stored
        assert (stored.snapshot_index, stored.snapshot_term) == self.snapshot
        assert (stored.hard_state, stored.base_membership) == (self.hard_state, self.base_membership)
        first = stored.entries[0].index if stored.entries else self.last + 1
        assert first <= self.snapshot[0] + 1
        expected = [self.entries[index] for index in range(first, self.last + 1)]
        assert list(stored.entries) == expected
        if stored.entries and first - 1 in self.entries:
            assert stored.start_term == self.entries[first - 1].term
        elif not stored.entries:
            assert stored.start_term == self.snapshot[1]


TestStorageModel = StorageModel.TestCase
TestStorageModel.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
