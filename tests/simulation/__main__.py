"""`make simulate`: runs seeds, counts what happened in them, and says how to replay the first that fails.

python -m tests.simulation --seeds 2000 --first-seed 1 --jobs 2
python -m tests.simulation --seeds 1 --first-seed 77 --trace --shrink
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pool

from tests.simulation.faults import CONSEQUENCES, KINDS
from tests.simulation.plan import draw
from tests.simulation.run import Result, faults_happened, run_plan, run_seed
from tests.simulation.shrink import shrink

LAST_EVENTS = 60  # of the trace, when a seed fails
FAILURES_SHOWN = 5
LARGE_BATCH = 2000  # seeds from which on every kind of fault must have happened

ROLES = ("follower", "pre_candidate", "candidate", "leader")


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when all held, 1 when something did not or the batch was vacuous."""
    options = _parse(arguments)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    began_s = time.monotonic()
    results = list(_run(seeds, options.jobs))
    print(_summary(results, time.monotonic() - began_s))
    if options.trace and options.seeds == 1:
        print("\n".join(run_plan(draw(options.first_seed))[1].trace.text()))
    failed = sorted((result for result in results if result.failure), key=lambda result: result.seed)
    for result in failed[:FAILURES_SHOWN]:
        _explain(result, options.shrink, show_trace=not options.trace)
    if len(failed) > FAILURES_SHOWN:
        print(f"\n{len(failed)} of {len(results)} seeds failed: {' '.join(str(result.seed) for result in failed)}")
    missing = _missing(results)
    if missing:
        print(f"\nVACUOUS: never happened in these {len(results)} seeds: {', '.join(missing)}")
    return 1 if failed or missing else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Run simulated clusters.")
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first one (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--trace", action="store_true", help="print every event; only with --seeds 1")
    parser.add_argument("--shrink", action="store_true", help="shorten the schedule of faults of a failing seed")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or (options.trace and options.seeds > 1):
        parser.error("expected --seeds of at least 1, and exactly 1 with --trace")
    return options


def _run(seeds: range, jobs: int) -> Iterator[Result]:
    if len(seeds) == 1 or jobs == 1:
        yield from map(run_seed, seeds)
        return
    with Pool(jobs) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=4)


def _total(results: list[Result]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for result in results:
        counts += result.counts
    return counts


def _missing(results: list[Result]) -> list[str]:
    """What should have happened and did not: anything at all, and in a large batch every kind."""
    counts = _total(results)
    if not faults_happened(counts):
        return ["any fault"]
    if len(results) < LARGE_BATCH:
        return []
    return [kind for kind in (*KINDS, *CONSEQUENCES) if not counts[kind]]


def _summary(results: list[Result], took_s: float) -> str:
    counts = _total(results)
    steps = sum(result.core_steps for result in results)
    lines = ["faults and operations that happened:"]
    lines += [f"  {kind:<20} {counts[kind]:>9,}" for kind in sorted({*KINDS, *CONSEQUENCES, *counts})]
    lines += ["inputs and messages stepped, by role:", *_coverage(results)]
    slowest = max(results, key=lambda result: result.agreed_after_s)
    lines += [
        f"seeds            {len(results):>12,}",
        f"core steps       {steps:>12,}",
        f"elections won    {counts['election_won']:>12,}",
        f"entries committed{sum(result.commits for result in results):>12,}",
        f"operations judged{sum(result.operations for result in results):>12,}",
        f"slowest agreement{slowest.agreed_after_s:>12.1f} simulated seconds after healing (seed {slowest.seed})",
        f"took             {took_s:>12.1f} s ({1e6 * took_s / max(1, steps):.0f} µs a step, checks included)",
        f"failed           {sum(bool(result.failure) for result in results):>12,}",
    ]
    return "\n".join(lines)


def _coverage(results: list[Result]) -> Iterator[str]:
    coverage: Counter[tuple[str, str]] = Counter()
    for result in results:
        coverage += result.coverage
    yield "  " + " " * 20 + "".join(f"{role:>14}" for role in ROLES)
    for kind in sorted({kind for _, kind in coverage}):
        yield f"  {kind:<20}" + "".join(f"{coverage[role, kind]:>14,}" for role in ROLES)


def _explain(result: Result, shorten: bool, show_trace: bool) -> None:
    print(f"\nseed {result.seed} FAILED: {result.failure}")
    plan = draw(result.seed)
    if shorten:
        plan = shrink(plan)
        print("the shortest schedule found that fails alike:")
        print("\n".join(f"  {fault}" for fault in plan.faults))
        print(f"  in {plan.options}")
    if show_trace:
        print(f"the last {LAST_EVENTS} events:")
        print("\n".join(run_plan(plan)[1].trace.text(LAST_EVENTS)))
    print(f"replay with: make simulate SEEDS=1 FIRST_SEED={result.seed}")


if __name__ == "__main__":
    sys.exit(main())
