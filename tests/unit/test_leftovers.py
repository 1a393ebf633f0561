"""What the log has let go is freed a few at a time."""

import gc
import weakref

from raft_zmq.node.leftovers import FREED_AT_ONCE, Leftovers


class Thing:
    """Stands for an entry, which has no room for weak references."""


def test_each_call_frees_a_bounded_number_until_nothing_is_left():
    leftovers = Leftovers()
    alive = weakref.WeakSet()
    for length in (1, FREED_AT_ONCE + 1):
        things = [Thing() for _ in range(length)]
        alive.update(things)
        leftovers.add([things])
        del things
    gc.collect()
    left = [len(alive)]
    while alive:
        leftovers.free_some()
        left.append(len(alive))
    assert left == [FREED_AT_ONCE + 2, 2, 1, 0]
    leftovers.free_some()


def test_what_waits_stays_bounded_when_more_comes_than_is_freed_at_once():
    leftovers = Leftovers()
    each = 2 * FREED_AT_ONCE
    for _ in range(1000):
        leftovers.add([[None] * each])
        leftovers.free_some()
    assert sum(map(len, leftovers._waiting)) < 100 * each
