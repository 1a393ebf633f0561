"""The sync inline, and beside the loop while there is too much to do."""

import threading

import pytest

from raft_zmq.node.syncing import Syncing
from raft_zmq.storage.errors import DiskFullError, StorageError


class SlowStorage:
    """Syncs in whichever thread it is called, and not before it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.thread = ""
        self.error: Exception | None = None

    def sync(self) -> None:
        self.thread = threading.current_thread().name
        assert self.let_go.wait(10)
        if self.error:
            raise self.error


class NoFaults:
    def prolong_sync(self) -> None:
        pass


class World:
    def __init__(self) -> None:
        self.storage = SlowStorage()
        self.overloaded = True
        self.looks = 0
        self.syncing = Syncing(self.storage, NoFaults(), lambda: self.overloaded, self._meanwhile)

    def _meanwhile(self) -> None:
        self.looks += 1
        if self.looks == 3:
            self.storage.let_go.set()


@pytest.fixture
def world():
    world = World()
    yield world
    world.syncing.close()


def test_an_overloaded_node_looks_after_its_clients_until_the_sync_has_ended(world):
    seconds = world.syncing.run()
    assert world.looks >= 3
    assert world.storage.thread != threading.current_thread().name
    assert seconds > 0


def test_a_node_that_is_not_overloaded_syncs_in_its_own_thread(world):
    world.overloaded = False
    world.storage.let_go.set()
    world.syncing.run()
    assert world.looks == 0
    assert world.storage.thread == threading.current_thread().name


@pytest.mark.parametrize("overloaded", [True, False])
@pytest.mark.parametrize("kind", [DiskFullError, StorageError])
def test_what_the_sync_raises_is_raised(world, kind, overloaded):
    world.overloaded = overloaded
    world.storage.error = kind("the disk")
    if not overloaded:
        world.storage.let_go.set()
    with pytest.raises(kind, match="the disk"):
        world.syncing.run()
