"""The document of the benchmark: what it shows is what was measured, and a missed target is called one."""

import msgspec
import pytest

from tests.performance import document, figures, picture
from tests.performance.figures import Figure, Measured, Results, Row
from tests.performance.rows import ROWS, method

CELLS = [
    {
        "op": op,
        "clients": clients,
        "ours": {"ops_per_s": 1000.0 * clients, "p50_ms": 0.5 * clients, "p99_ms": 1.0 * clients, "errors": 0},
        "etcd": {"ops_per_s": 900.0 * clients, "p50_ms": 0.6 * clients, "p99_ms": 2.0 * clients, "errors": 0},
    }
    for op in ("write", "read")
    for clients in (1, 16)
]


def run(date: str, **rows: Measured) -> Results:
    return Results(
        date=date,
        quick=False,
        command="python -m tests.performance",
        machine={"cores": 2, "processor": "any", "memory_gib": 4.0, "kernel": "6.1"},
        versions={"python": "3.11.7"},
        rows={
            name: Row(begun=date, seconds=1.0, load_1m_before=0.1, others_busy_before=0.0, measured=measured)
            for name, measured in rows.items()
        },
    )


def idle(percent: float) -> Measured:
    return Measured(figures=[Figure(what="CPU of a node", value=percent, unit="%", at_most=1.5)])


@pytest.mark.parametrize(
    ("figure", "reached", "target"),
    [
        (Figure(what="a", value=1.5, at_most=1.5), True, "≤ 1.5"),
        (Figure(what="a", value=1.51, at_most=1.5), False, "≤ 1.5"),
        (Figure(what="a", value=2.0, at_least=2.0), True, "≥ 2"),
        (Figure(what="a", value=1.99, at_least=2.0), False, "≥ 2"),
        (Figure(what="a", value=7.0), None, ""),
    ],
)
def test_a_target_is_reached_or_not(figure, reached, target):
    assert (figure.reached, figure.target) == (reached, target)


@pytest.fixture
def renewed(tmp_path):
    page, runs = tmp_path / "page.md", tmp_path / "runs"
    page.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")

    def renew(*results: Results) -> str:
        for each in results:
            figures.write(each, runs)
        document.renew(page, runs, tmp_path / "picture.svg")
        return page.read_text()

    return renew


def test_each_row_comes_from_the_newest_run_that_measured_it(renewed):
    soak = Measured(figures=[Figure(what="lost", value=0, at_most=0)])
    first, second = run("2026-01-01T00:00:00+00:00", idle=idle(1.0), soak=soak), run("2026-01-02T00:00:00+00:00")
    second.rows = run("2026-01-02T00:00:00+00:00", idle=idle(1.9)).rows
    text = renewed(first, second)
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| CPU of a node | 1.9 % | ≤ 1.5 | **not reached** |" in text
    assert "| lost | 0 | ≤ 0 | yes |" in text
    assert "Not measured yet: compare" in text


def test_a_row_that_failed_does_not_hide_the_one_before(renewed):
    failed = run("2026-01-02T00:00:00+00:00", idle=idle(9.0))
    failed.rows["idle"] = msgspec.structs.replace(failed.rows["idle"], measured=None, trouble="no leader")
    text = renewed(run("2026-01-01T00:00:00+00:00", idle=idle(1.0)), failed)
    assert "| CPU of a node | 1 % | ≤ 1.5 | yes |" in text
    assert "A newer try, 2026-01-02T00:00:00+00:00, did not come about:** no leader" in text


def test_a_row_that_failed_once_and_was_measured_since_says_nothing_of_it(renewed):
    failed = run("2026-01-01T00:00:00+00:00", idle=idle(9.0))
    failed.rows["idle"] = msgspec.structs.replace(failed.rows["idle"], measured=None, trouble="no leader")
    assert "no leader" not in renewed(failed, run("2026-01-02T00:00:00+00:00", idle=idle(1.0)))


def test_each_row_names_the_code_that_was_measured_and_what_was_doubtful(renewed):
    doubtful = Measured(figures=[], doubts=["more than 16 under way"])
    newer = msgspec.structs.replace(run("2026-01-02T00:00:00+00:00", compare=doubtful), code="bbbbbbb+")
    older = msgspec.structs.replace(run("2026-01-01T00:00:00+00:00", idle=idle(1.0)), code="aaaaaaa")
    text = renewed(older, newer)
    assert " of aaaaaaa with `python -m tests.performance --only idle`" in text
    assert " of bbbbbbb+ with `python -m tests.performance --only compare`" in text
    assert "Doubtful: more than 16 under way." in text


def test_the_picture_has_every_point_of_both_sides(renewed, tmp_path):
    compared = {"cells": CELLS, "etcd": "3.6.1"}
    text = renewed(run("2026-01-01T00:00:00+00:00", compare=Measured(figures=[], raw={"compare": compared})))
    assert "etcd 3.6.1" in text
    assert "/picture.svg)" in text
    drawn = (tmp_path / "picture.svg").read_text()
    assert drawn == picture.draw(compared)
    assert drawn.count("<circle") == 2 * 2 * 2 * 2, "operations, sides, clients, median and 99th percentile"
    assert drawn.count('class="ours p50"') == 2


def test_every_row_says_how_it_is_measured():
    for name, row in ROWS.items():
        title, how = method(row)
        assert title, name
        assert len(how) > 60, name
