"""The parts of the judge on their own: reading lines, lives, terms within a round, lost writes without false alarms."""

from pathlib import Path

import pytest

from client.verify.checks.elections import terms_never_go_back
from client.verify.facts import Run
from client.verify.gather import read_client_log, read_node_log
from client.verify.lines import TextLine, read_lines
from client.verify.lost_writes import find_lost_writes
from client.verify.node_events import Other, StorageRepaired, decode_line
from tests.unit.histories import operation, recorded

HEAD = '{"ts":"2026-05-04T12:00:00.000000Z","level":"info","node":"raft-0"'
STARTED = HEAD + ',"event":"node_started","term":1,"incarnation":"disk","members":["raft-0"]}'
REPAIRED = HEAD + ',"event":"storage_repaired","term":1,"file":"1.wal","reason":"torn tail"}'


def log_of(*texts: str) -> Run:
    lines = [TextLine(f"raft-0.log:{number}", text) for number, text in enumerate(texts, start=1)]
    return Run(logs=[read_node_log("raft-0.log", lines)])


def test_stamps_of_kubectl_are_taken_off_and_blank_lines_left_out(tmp_path: Path) -> None:
    path = tmp_path / "raft-0.log"
    path.write_text('2026-05-04T12:00:00.123456789Z {"a": 1}\n\n2026-05-04T12:00:00Z \n  plain\n')
    assert list(read_lines(path)) == [("raft-0.log:1", '{"a": 1}'), ("raft-0.log:4", "  plain")]


def test_event_that_the_judge_does_not_know_keeps_its_name_and_term() -> None:
    line = decode_line(HEAD + ',"event":"brand_new","term":3,"more":[1]}')
    assert isinstance(line, Other)
    assert (line.name, line.term) == ("brand_new", 3)


@pytest.mark.parametrize("text", ["plain", "[1]", '{"no": "event"}', '"event"'])
def test_what_is_no_event_is_none(text: str) -> None:
    assert decode_line(text) is None


def test_a_repair_belongs_to_the_life_that_begins_after_it() -> None:
    [first, second] = log_of(STARTED, REPAIRED, STARTED).lives
    assert len(first.lines) == 1
    assert isinstance(second.lines[0], StorageRepaired)


def test_no_line_may_show_an_older_term_than_one_before_it_but_that_of_a_leader_that_was() -> None:
    newer = HEAD + ',"event":"became_follower","term":2,"leader_id":""}'
    older = HEAD + ',"event":"slow_disk","term":1}'
    led = HEAD + ',"event":"stepped_down","term":1,"reason":"higher_term","last_log_index":1}'
    assert not terms_never_go_back(log_of(STARTED, older, newer, led)).violations
    assert len(terms_never_go_back(log_of(STARTED, newer, older, older)).violations) == 1


def test_result_in_colour_is_read() -> None:
    log = read_client_log("client.log", [TextLine("client.log:1", "\x1b[32mRESULT: passed, 4 of 5 steps held\x1b[0m")])
    assert (log.result, log.held, log.steps) == ("passed", 4, 5)


@pytest.mark.parametrize("seed", range(20))
def test_a_sound_history_has_no_lost_write(seed: int) -> None:
    found = find_lost_writes(recorded(seed, operations=600, clients=2 + seed % 8, keys=1 + seed % 3, unknown=0.02))
    assert found.lost == []
    assert found.checked > 100


def test_a_write_that_an_unanswered_one_may_have_replaced_is_not_lost() -> None:
    history = [
        operation("a", 1, "put", 0, None, value="x"),
        operation("b", 1, "put", 10, 11, value="y"),
        operation("c", 1, "get", 20, 21, output="x"),
    ]
    assert find_lost_writes(history).lost == []


def test_an_append_whose_text_an_increment_may_have_changed_is_not_lost() -> None:
    history = [
        operation("a", 1, "append", 0, 1, value="1", output=1),
        operation("b", 1, "incr", 2, None, value=2),
        operation("c", 1, "get", 20, 21, output="3"),
    ]
    assert find_lost_writes(history).lost == []
