"""Makes a failing plan short: fewer faults and a simpler world that still fail in the same way."""

import re
from collections.abc import Callable, Sequence

import msgspec

from tests.simulation.faults import Fault
from tests.simulation.network import CALM
from tests.simulation.options import Options
from tests.simulation.plan import Plan
from tests.simulation.run import run_plan

SIMPLER: tuple[dict[str, object], ...] = (
    {"weather": CALM},
    {"sync_s": (0.0, 0.0)},
    {"overlap": False},
    {"drift_max": 0.0},
    {"clock_interval_s": 0.0},
    {"snapshot_entries": 0},
    {"clients": 1},
    {"lease_reads": False},
    {"established": True},
    {"append_bytes_max": 1 << 20, "inflight_messages_max": 64, "inflight_bytes_max": 16 << 20},
)


def kind_of(failure: str) -> str:
    """A failure without its numbers and names: two with the same kind are taken for the same fault of the code."""
    return re.sub(r"\b[nc]?\d[\d.]*\b", "#", failure.split("\n", 1)[0])


def shrink(plan: Plan) -> Plan:
    """The shortest plan found that fails like this one does; `plan` itself if it does not fail."""
    failure = run_plan(plan)[0].failure
    if not failure:
        return plan

    def fails(candidate: Plan) -> bool:
        found = run_plan(candidate)[0].failure
        return bool(found) and kind_of(found) == kind_of(failure)

    plan = _with_faults(plan, fewest(plan.faults, lambda faults: fails(_with_faults(plan, faults))))
    for simpler in SIMPLER:
        candidate = msgspec.structs.replace(plan, options=_replace(plan.options, simpler))
        if candidate != plan and fails(candidate):
            plan = candidate
    return _with_faults(plan, fewest(plan.faults, lambda faults: fails(_with_faults(plan, faults))))


def fewest(faults: Sequence[Fault], fails: Callable[[Sequence[Fault]], bool]) -> Sequence[Fault]:
    """Delta debugging (Zeller 1999): leave out halves, quarters, … single faults, as long as it still fails."""
    size = len(faults)
    while size:
        size = (size + 1) // 2
        start = 0
        while start < len(faults):
            without = [*faults[:start], *faults[start + size :]]
            if fails(without):
                faults = without
            else:
                start += size
        if size == 1:
            break
    return faults


def _with_faults(plan: Plan, faults: Sequence[Fault]) -> Plan:
    return msgspec.structs.replace(plan, faults=tuple(faults))


def _replace(options: Options, changes: dict[str, object]) -> Options:
    return msgspec.structs.replace(options, **changes)
