"""docs/performance.md: its table, between two markers, and its picture, made from the runs kept beside it."""

from pathlib import Path

from tests.performance import figures, picture
from tests.performance.figures import Figure, Results, Row
from tests.performance.plan import ROOT
from tests.performance.rows import ROWS, method

DOCUMENT = ROOT / "docs" / "performance.md"
RUNS = ROOT / "docs" / "performance"
PICTURE = RUNS / "throughput-latency.svg"
BEGIN = "<!-- measured: begin; `make bench` writes what stands between these lines -->"
END = "<!-- measured: end -->"


def renew(document: Path = DOCUMENT, runs: Path = RUNS, drawing: Path = PICTURE) -> None:
    """Write the table anew, each row from the newest run that measured it, and the picture."""
    newest: dict[str, tuple[Results, Row]] = {}
    failed: dict[str, Row] = {}  # the newest try of a row, where that did not come about
    for results in figures.read_all(runs):
        for name, row in results.rows.items():
            if row.measured is None:
                failed[name] = row
            else:
                newest[name] = (results, row)
                failed.pop(name, None)
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [_section(name, *newest[name], failed.get(name)) for name in ROWS if name in newest]
    parts += [f"Not measured yet: {', '.join(missing)}."] if (missing := [n for n in ROWS if n not in newest]) else []
    if "compare" in newest and (found := newest["compare"][1].measured) and "compare" in found.raw:
        drawing.write_text(picture.draw(found.raw["compare"]))
        place = f"{drawing.parent.name}/{drawing.name}"
        parts.insert(0, f"![Throughput against latency, ours and etcd]({place})")
    document.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")


def _section(name: str, results: Results, row: Row, failed: Row | None) -> str:
    assert row.measured is not None
    title, how = method(ROWS[name])
    lines = [f"### {title}", "", how, "", "| what | found | target | reached |", "|---|---|---|---|"]
    lines += [_line(figure) for figure in row.measured.figures]
    lines += ["", _circumstances(name, results, row)]
    lines += ["", f"**A newer try, {failed.begun}, did not come about:** {failed.trouble}"] if failed else []
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    note = f" ({figure.note})" if figure.note else ""
    found = f"{figures.number(figure.value)} {figure.unit}".rstrip()
    reached = {True: "yes", False: "**not reached**", None: ""}[figure.reached]
    return f"| {figure.what} | {found}{note} | {figure.target} | {reached} |"


def _circumstances(name: str, results: Results, row: Row) -> str:
    assert row.measured is not None
    hardware = results.machine
    versions = ", ".join(f"{package} {number}" for package, number in results.versions.items())
    etcd = row.measured.raw.get("compare", row.measured.raw).get("etcd")
    etcd = etcd.get("etcd") if isinstance(etcd, dict) else etcd
    commands = "; ".join(f"`{command}`" for command in row.measured.commands)
    return (
        f"Measured {row.begun} in {row.seconds:.0f} s"
        + (f" of {results.code}" if results.code else "")
        + f" with `python -m tests.performance --only {name}`"
        + (f" (which runs {commands})" if commands else "")
        + f" on {hardware['cores']} cores ({hardware['processor']}), {hardware['memory_gib']} GiB, "
        f"Linux {hardware['kernel']}; load before {row.load_1m_before}, others used {row.others_busy_before:.0%} "
        f"of the machine; {versions}"
        + (f", etcd {etcd}" if etcd else "")
        + (f". Doubtful: {'; '.join(row.measured.doubts)}" if row.measured.doubts else "")
        + "."
    )
