"""The page: it stands alone, says everything the verdict says, and takes nothing from a file as markup."""

import html
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.report.command import report
from client.report.load import percentile, summarise
from client.report.scale import Scale, round_step
from client.report.story import tell
from client.report.timeline import draw_timeline
from client.verify.facts import ClientLog
from client.verify.gather import gather
from client.verify.rules import RULES
from tests.unit.verify_samples import Sample


def page_of(folder: Path) -> str:
    result = CliRunner().invoke(report, [str(folder)])
    assert result.exit_code == 0, result.output
    return (folder / "report.html").read_text()


def test_page_of_a_whole_run(tmp_path: Path) -> None:
    page = page_of(Sample().write(tmp_path))
    assert "Passed: 12 of 12 checks hold" in page
    for rule in RULES:
        assert f"<strong>{rule.name}</strong>" in page
    for told in ("term 1: raft-0", "leader, term 2", "torn tail", "fault injected: delay", "Step 2: write ten keys"):
        assert told in page
    assert page.count("<svg") > 5


def test_page_needs_no_network(tmp_path: Path) -> None:
    page = page_of(Sample().write(tmp_path))
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|<script|<link", page)


def test_failed_checks_are_explained(tmp_path: Path) -> None:
    sample = Sample()
    sample.logs["raft-1"][8].update(digest="0123456789abcdef")
    page = page_of(sample.write(tmp_path))
    assert "Failed: 10 of 12 checks hold" in page
    assert "raft-1 has 0123456789abcdef (raft-1.log:9)" in page


def test_page_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert page.count('class="status vacuous"') == len(RULES)
    assert "Not in the gathered files" in page
    for lacking in ("the logs of the nodes", "client.log", "history*.jsonl"):
        assert lacking in page


@pytest.mark.parametrize("file", ["raft-1.log", "client.log", "history.jsonl"])
@pytest.mark.parametrize("content", [None, "", "{]\n"])
def test_page_of_partial_input(tmp_path: Path, file: str, content: str | None) -> None:
    path = Sample().write(tmp_path) / file
    path.unlink() if content is None else path.write_text(content)
    assert "Failed: " in page_of(tmp_path)


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\"&"
    sample = Sample()
    sample.client_log += evil + "\n"
    for line in sample.logs["raft-2"]:
        if line["event"] == "fault_injected":
            line["kind"] = evil
    for line in sample.logs["raft-1"]:
        if line["event"] == "node_started":
            line["version"] = evil
    page = page_of(sample.write(tmp_path))
    assert "<script" not in page
    assert html.escape(evil, quote=False).partition("(")[0] in page


def test_report_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    result = CliRunner().invoke(report, [str(tmp_path)])
    assert result.exit_code == 2
    assert "report.html: expected to write the report there" in result.output


def test_timeline_shows_the_roles_and_the_time_between_two_lives(tmp_path: Path) -> None:
    timeline = draw_timeline(gather(Sample().write(tmp_path)))
    roles = {row.node: [bar.role for bar in row.bars] for row in timeline.rows}
    assert roles["raft-0"] == ["follower", "candidate", "candidate", "leader", "down", "follower", "follower"]
    assert "leader" not in roles["raft-2"]
    killed = [mark.kind for row in timeline.rows for mark in row.marks].count("killed")
    assert killed == 1
    assert all(bar.x + bar.width <= timeline.width for row in timeline.rows for bar in row.bars)


@pytest.mark.parametrize(
    ("least", "step"), [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (30, 50), (0.0003, 0.0005)]
)
def test_round_step(least: float, step: float) -> None:
    assert round_step(least) == pytest.approx(step)


def test_ticks_stand_at_round_values() -> None:
    assert [(tick.place, tick.label) for tick in Scale(0, 9, 0, 90).ticks(4, " s")] == [
        (0, "0 s"),
        (50, "5 s"),
    ]


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0.25, 1), (1.0, 4)])
def test_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    assert percentile([1, 2, 3, 4], share) == value
    assert percentile([], share) == 0


def test_load_counts_every_operation_once() -> None:
    operations = Sample().operations
    load = summarise(operations)
    assert sum(one.ok + one.failed + one.unknown for one in load.latencies) == len(operations)
    assert summarise([]).throughput is None


def test_story_reads_the_same_from_json() -> None:
    log = ClientLog(
        "client.log",
        [
            '{"event":"step","number":1,"title":"find","held":true,"expected":"a","got":"b","duration_ms":1.5}',
            '{"event":"result","result":"failed","held":0,"steps":1}',
        ],
    )
    assert [(line.kind, line.text) for line in tell(log)] == [
        ("step", "Step 1: find"),
        ("plain", "    expected: a"),
        ("plain", "    got:      b"),
        ("held", "    ok (1.5 ms)"),
        ("failed", "RESULT: failed, 0 of 1 steps held"),
    ]
