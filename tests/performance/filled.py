"""State of a given size: keys enough with values of 4 KiB."""

import os
from collections.abc import Iterator

from raft_zmq.wire.commands import Put
from tests.performance.cluster import Cluster
from tests.performance.load import write_all

VALUE_BYTES = 4096
# While a state is filled, snapshots would write it again and again; what is measured comes after.
LOG_BYTES = 4 << 30


def fill(cluster: Cluster, state_bytes: int) -> int:
    """Write keys until the state has that size; how many."""
    engine = cluster.engine()
    try:
        return write_all(engine, _puts(state_bytes // VALUE_BYTES))
    finally:
        engine.close()


def _puts(keys: int) -> Iterator[Put]:
    value = os.urandom(VALUE_BYTES)
    return (Put(b"filled/%d" % number, b"%016d" % number + value[16:]) for number in range(keys))
