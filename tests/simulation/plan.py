"""What one seed stands for: a world and the faults that befall it, drawn before anything runs.

Every seed allows only some kinds of faults, so that some runs see one kind again and again and others a bit of all.
"""

import random

import msgspec

from tests.simulation.faults import CLOCKS, DISKS, MEMBERSHIP, NETWORK, OPERATIONS, PROCESSES, Fault, Faults
from tests.simulation.network import Weather
from tests.simulation.options import Options

CHAOS_S = (3.0, 7.0)  # how long faults go on
BREAKS_LEASES = {"clock_jump", "clock_freeze"}  # a lease holds only while clocks run alike (thesis 6.4.1)

# Half of the seeds draw from all kinds, the others look closely at what goes wrong together.
FOCUSES = (
    (*NETWORK, *PROCESSES, *CLOCKS, *DISKS, *OPERATIONS, *MEMBERSHIP),
    (*NETWORK, *PROCESSES, *CLOCKS, *DISKS, *OPERATIONS, *MEMBERSHIP),
    (*NETWORK, Faults.crash),
    (*DISKS, *PROCESSES, Faults.snapshot),
    (*MEMBERSHIP, *NETWORK, Faults.wipe, Faults.transfer),
)


class Plan(msgspec.Struct, frozen=True):
    """A run to be."""

    seed: int
    options: Options
    faults: tuple[Fault, ...]
    chaos_s: float


def draw(seed: int) -> Plan:
    """The plan of this seed; equal for ever, as long as this file and the kinds of faults stay as they are."""
    rng = random.Random(f"{seed}/plan")
    options = _draw_options(rng)
    chaos_s = rng.uniform(*CHAOS_S)
    kinds = _draw_kinds(rng, options)
    faults = [_draw_fault(rng, kinds, chaos_s) for _ in range(rng.randint(8, 40))]
    faults.append(_draw_fault(rng, ["crash"], chaos_s))  # of some kinds a world may allow none; this one always happens
    return Plan(seed, options, tuple(sorted(faults, key=lambda fault: fault.at_s)), chaos_s)


def _draw_kinds(rng: random.Random, options: Options) -> list[str]:
    """Some of the kinds of a focus; those that change the membership come together, as they need each other."""
    membership = rng.random() < 0.5
    kinds = [
        function.__name__
        for function in rng.choice(FOCUSES)
        if (membership if function in MEMBERSHIP else rng.random() < 0.5)
    ]
    if options.lease_reads:
        kinds = [kind for kind in kinds if kind not in BREAKS_LEASES]
    return kinds or ["crash"]


def _draw_fault(rng: random.Random, kinds: list[str], chaos_s: float) -> Fault:
    seconds = rng.choice([0.05, 0.3, 1.0, 2.5]) * rng.uniform(0.5, 1.5)
    return Fault(rng.uniform(0.0, chaos_s), rng.choice(kinds), seconds, rng.getrandbits(32))


def _draw_options(rng: random.Random) -> Options:
    lease_reads = rng.random() < 0.25
    return Options(
        servers=rng.choice([1, 2, 3, 3, 3, 3, 4, 5, 5]),
        established=rng.random() < 0.7,
        overlap=rng.random() < 0.4,
        sync_s=rng.choice([(0.0, 0.0), (0.0, 0.002), (0.001, 0.01)]),
        weather=Weather(
            loss=rng.choice([0.0, 0.0, 0.01, 0.05]),
            duplication=rng.choice([0.0, 0.0, 0.02]),
            delay_s_max=rng.choice([0.002, 0.005, 0.02]),
            straggler=rng.choice([0.0, 0.01, 0.05, 0.2]),
            straggler_s=rng.choice([0.05, 0.3, 1.0]),
        ),
        drift_max=rng.choice([0.0, 0.02]) if lease_reads else rng.choice([0.0, 0.02, 0.2]),
        snapshot_entries=rng.choice([0, 5, 20, 50]),
        snapshot_s=rng.choice([0.001, 0.02, 0.3]),
        keep_snapshots_open=rng.random() < 0.5,
        chunk_bytes=rng.choice([60, 200, 1000, 10_000]),
        clients=rng.randint(2, 4),
        keys=rng.randint(1, 4),
        think_s=rng.choice([0.01, 0.03, 0.1, 0.5]),
        session_ttl_ms=rng.choice([1_000, 60_000]),
        clock_interval_s=rng.choice([0.0, 0.2, 0.5]),
        pre_vote=rng.random() < 0.75,
        check_quorum=lease_reads or rng.random() < 0.7,
        lease_reads=lease_reads,
        append_bytes_max=rng.choice([50, 300, 1 << 20]),
        inflight_messages_max=rng.choice([1, 2, 8, 64]),
        inflight_bytes_max=rng.choice([100, 1000, 16 << 20]),
        uncommitted_bytes_max=rng.choice([500, 64 << 20, 64 << 20]),
        trailing_entries=rng.choice([0, 1, 5, 20, 100]),
    )
