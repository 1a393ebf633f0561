"""`python -m tests.performance [--quick] [--only NAME,…] [--minutes N]`: measure the table of docs/performance.md.

A whole run is kept in docs/performance/ and the document's table is made anew from it; a quick one is for a look, is
kept in build/performance/ and leaves the document alone. Exit codes: 0 measured, 1 a row could not be measured, 2 bad
usage.
"""

import argparse
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime

from raft_zmq.core.errors import RaftLabError
from tests.performance import document, figures, machine
from tests.performance.figures import Results, Row
from tests.performance.plan import ROOT, Plan
from tests.performance.rows import AFTER_A_REST, ONLY_WHEN_NAMED, ROWS, method

FOLDER = ROOT / "build" / "performance"


def main() -> int:
    """Run what the arguments say; returns the exit code."""
    arguments = _arguments()
    if arguments.document:
        document.renew()
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    plan = Plan(FOLDER, arguments.quick, arguments.minutes)
    results = Results(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=arguments.quick,
        command=machine.command_line(),
        machine=machine.describe(),
        versions=machine.versions(),
        code=machine.code(ROOT),
    )
    for name in arguments.only or [name for name in ROWS if name not in ONLY_WHEN_NAMED]:
        results.rows[name] = _measure(name, plan)
        _print(name, results.rows[name])
    kept = figures.write(results, FOLDER if arguments.quick else document.RUNS)
    print(f"\nkept in {kept.relative_to(ROOT)}")
    if not arguments.quick:
        document.renew()
        print(f"renewed {document.DOCUMENT.relative_to(ROOT)}")
    return int(any(row.measured is None for row in results.rows.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="everything once and short, to see that it works")
    parser.add_argument("--only", type=_names, metavar="NAME,…", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--minutes", type=float, help="length of the rows elections (10) and soak (20)")
    parser.add_argument("--document", action="store_true", help="measure nothing, only make the document's table anew")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in ROWS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(ROWS)}, found {', '.join(unknown) or 'none'}")
    return names


def _measure(name: str, plan: Plan) -> Row:
    print(f"\n{name}: {method(ROWS[name])[0]}", flush=True)
    if name in AFTER_A_REST and not plan.quick:
        machine.calm_down()
    row = Row(
        begun=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        load_1m_before=machine.load_1m(),
        others_busy_before=machine.others_busy(),
    )
    begun_s = time.monotonic()
    try:
        row.measured = ROWS[name].measure(plan)
    except (RaftLabError, OSError, subprocess.TimeoutExpired, AssertionError) as error:
        row.trouble = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    row.seconds = round(time.monotonic() - begun_s, 1)
    return row


def _print(name: str, row: Row) -> None:
    if row.measured is None:
        print(f"  {name} could not be measured: {row.trouble}")
        return
    for figure in row.measured.figures:
        mark = {True: "reached", False: "NOT REACHED", None: ""}[figure.reached]
        shown = f"{figures.number(figure.value)} {figure.unit}".rstrip()
        print(f"  {figure.what:62} {shown:>18}  {figure.target:8} {mark:11} {figure.note}".rstrip())
    print(f"  in {row.seconds:.0f} s; others used {row.others_busy_before:.0%} of the machine before", flush=True)


if __name__ == "__main__":
    sys.exit(main())
