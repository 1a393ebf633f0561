"""A long history.

So many entries of 16 bytes, over 10,000 keys, with compaction as it is set by default; throughput at 256 clients in the
first tenth and in the last, and how long a follower that was killed takes from its start until it is ready.
"""

import itertools
import time
from collections.abc import Iterator

from raft_zmq.wire.commands import Put
from tests.performance.figures import Figure, Measured
from tests.performance.load import write_all
from tests.performance.plan import Plan
from tests.performance.waiting import wait_until

KEYS = 10_000
CLIENTS = 256


def measure(plan: Plan) -> Measured:
    entries = plan.choose(10_000_000, 100_000)
    operations = _puts(entries)
    rates = []
    with plan.cluster() as cluster:
        engine = cluster.engine()
        for tenth in range(10):
            begun_s = time.perf_counter()
            done = write_all(engine, itertools.islice(operations, entries // 10), CLIENTS)
            rates.append(done / (time.perf_counter() - begun_s))
            plan.say(f"{tenth + 1}0 % of {entries:,} entries, {rates[-1]:,.0f}/s")
        engine.close()
        usage = max(used.resident_bytes for used in cluster.usage().values())
        follower = cluster.followers()[0]
        cluster.kill(follower)
        begun_s = time.perf_counter()
        cluster.start(follower)
        wait_until(lambda: cluster.statuses().get(follower, {}).get("ready", False), f"{follower} to be ready")
        ready_s = time.perf_counter() - begun_s
    figures = [
        Figure(
            what=f"writes/s, last tenth of {entries:,} entries ÷ first tenth",
            value=rates[-1] / rates[0],
            note=f"{rates[0]:,.0f}/s at first, {rates[-1]:,.0f}/s at the end",
        ),
        Figure(what="restart of a follower until it is ready", value=ready_s, unit="s"),
        Figure(what="resident memory of a node at the end", value=usage / 1e6, unit="MB"),
    ]
    return Measured(figures=figures, raw={"entries": entries, "rates": rates, "ready_s": ready_s, "resident": usage})


def _puts(entries: int) -> Iterator[Put]:
    return (Put(b"history/%d" % (number % KEYS), b"%016d" % number) for number in range(entries))
