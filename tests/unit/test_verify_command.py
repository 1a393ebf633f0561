"""The judge against a sound run, and against runs doctored by hand: each must be named by the check it breaks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from client.verify.command import verify
from tests.unit.histories import operation
from tests.unit.verify_samples import Line, Sample


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(verify, [str(folder), *options])


def checks_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads((folder / "verdict.json").read_text())["checks"]}


def not_passed(folder: Path) -> dict[str, str]:
    return {name: check["status"] for name, check in checks_of(folder).items() if check["status"] != "pass"}


def is_event(event: str, **fields: Any) -> Callable[[Line], bool]:
    return lambda line: line["event"] == event and all(line[name] == value for name, value in fields.items())


@pytest.mark.parametrize("kubectl_stamps", [False, True])
def test_sound_run_passes(tmp_path: Path, kubectl_stamps: bool) -> None:
    sample = Sample()
    sample.kubectl_stamps = kubectl_stamps
    result = run(sample.write(tmp_path))
    assert result.exit_code == 0, result.output
    assert "VERDICT: passed, 12 of 12 checks hold" in result.output
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["ok"] is True
    assert [node["lives"] for node in verdict["inputs"]["nodes"]] == [2, 1, 1]
    assert all(check["checked"] for check in verdict["checks"])


def test_json_on_stdout_is_what_stands_in_the_file(tmp_path: Path) -> None:
    result = run(Sample().write(tmp_path), "--json")
    assert json.loads(result.output) == json.loads((tmp_path / "verdict.json").read_text())


def second_leader(sample: Sample) -> None:
    sample.doctor("raft-2", is_event("leader_elected", term=2), leader_id="raft-0")


def two_votes(sample: Sample) -> None:
    sample.doctor("raft-2", is_event("vote_granted", term=2), term=1, candidate_id="raft-1")


def vote_counted_that_was_given_to_another(sample: Sample) -> None:
    sample.doctor("raft-2", is_event("vote_granted", term=2), candidate_id="raft-0")


def term_back(sample: Sample) -> None:
    sample.doctor("raft-0", is_event("log_truncated"), term=1)


def term_back_over_a_restart(sample: Sample) -> None:
    [_, restart] = [line for line in sample.logs["raft-0"] if line["event"] == "node_started"]
    restart["term"] = 0


def differing_digest(sample: Sample) -> None:
    sample.doctor("raft-1", is_event("applied", index=32), digest="0123456789abcdef")


def leader_cuts_its_log(sample: Sample) -> None:
    cut = {"event": "log_truncated", "term": 2, "first_index": 598, "last_index": 600, "commit_index": 40}
    lines = sample.logs["raft-1"]
    lines.insert(-2, {**lines[-3], **cut})


def leader_ends_with_less(sample: Sample) -> None:
    sample.doctor("raft-1", is_event("stepped_down"), last_log_index=39)


def leader_lacks_a_committed_entry(sample: Sample) -> None:
    sample.doctor("raft-1", is_event("became_leader"), last_log_index=31, commit_index=31)


def applied_goes_back(sample: Sample) -> None:
    lines = sample.logs["raft-2"]
    first, second = (
        number for number, line in enumerate(lines) if line["event"] == "applied" and line["index"] in (4, 8)
    )
    lines[first], lines[second] = lines[second], lines[first]


def committed_entries_cut(sample: Sample) -> None:
    sample.doctor("raft-0", is_event("log_truncated"), first_index=40)


def lost_write(sample: Sample) -> None:
    """A write of a key of its own, acknowledged; every later read shows the value before it."""
    end = 10**12
    sample.operations += [
        operation("z", 1, "put", end, end + 1, key="own", value="first"),
        operation("z", 2, "put", end + 2, end + 3, key="own", value="second"),
        operation("y", 3, "get", end + 4, end + 5, key="own", output="first"),
    ]


def lost_append(sample: Sample) -> None:
    end = 10**12
    sample.operations += [
        operation("z", 1, "append", end, end + 1, key="own", value="+a", output=2),
        operation("z", 2, "append", end + 2, end + 3, key="own", value="+b", output=4),
        operation("z", 3, "append", end + 4, end + 5, key="own", value="+c", output=6),
        operation("y", 3, "get", end + 6, end + 7, key="own", output="+a+c"),
    ]


def lost_increment(sample: Sample) -> None:
    end = 10**12
    sample.operations += [
        operation("z", 1, "incr", end, end + 1, key="own", value=5, output=5),
        operation("y", 3, "get", end + 6, end + 7, key="own", output=None),
    ]


def stale_read(sample: Sample) -> None:
    first, late = sample.operations[sample.read(5)], sample.read(-5)
    sample.operations[late] = msgspec.structs.replace(sample.operations[late], key=first.key, output=first.output)


def failed_scenario(sample: Sample) -> None:
    sample.client_log = sample.client_log.replace("passed, 2 of 2", "failed, 1 of 2")


def ended_early(sample: Sample) -> None:
    sample.client_log = sample.client_log.partition("RESULT")[0]


def a_log_is_missing(sample: Sample) -> None:
    del sample.logs["raft-2"]


def another_nodes_log(sample: Sample) -> None:
    sample.logs["raft-2"] = sample.logs["raft-1"]


def damaged_event(sample: Sample) -> None:
    sample.doctor("raft-2", is_event("became_follower", term=2), leader_id=5)


DOCTORED = {
    second_leader: ({"Election Safety"}, "term 2: expected one leader, found raft-1"),
    two_votes: ({"One vote a term"}, "raft-2, term 1: expected one vote"),
    vote_counted_that_was_given_to_another: ({"One vote a term"}, "counts the vote of raft-2 in term 2"),
    term_back: ({"Terms never go back"}, "raft-0 is in term 1, after term 2 at raft-0.log:"),
    term_back_over_a_restart: ({"Terms never go back"}, "raft-0 is in term 0, after term 1"),
    differing_digest: ({"State Machine Safety", "Log Matching"}, "0123456789abcdef"),
    leader_cuts_its_log: ({"Leader Append-Only"}, "raft-1 cut its log from 598 in term 2, which it led"),
    leader_ends_with_less: ({"Leader Append-Only"}, "and ended with 39"),
    leader_lacks_a_committed_entry: ({"Leader Completeness"}, "lacks entry 32 (of term 1)"),
    applied_goes_back: ({"Committed stays"}, "raft-2 has applied 4, after 8"),
    committed_entries_cut: ({"Committed stays"}, "raft-0 cut its log from 40, and 40 was committed"),
    lost_write: ({"No acknowledged write lost", "Linearizability"}, "z#2 put own 'second': ok was acknowledged"),
    lost_append: ({"No acknowledged write lost", "Linearizability"}, "z#2 append own '+b': 4 was acknowledged"),
    lost_increment: ({"No acknowledged write lost", "Linearizability"}, "z#1 incr own 5: 5 was acknowledged"),
    stale_read: ({"No acknowledged write lost", "Linearizability"}, "no order explains all of"),
    failed_scenario: ({"Client scenario"}, "failed, 1 of 2 steps held"),
    ended_early: ({"Client scenario"}, "the run did not end"),
    a_log_is_missing: ({"Node logs"}, "raft-2.log: expected the log of a member"),
    another_nodes_log: ({"Node logs"}, "raft-2.log: expected lines of raft-2, found lines of raft-1"),
    damaged_event: ({"Node logs"}, "`$.leader_id`"),
}


@pytest.mark.parametrize("doctor", DOCTORED, ids=lambda doctor: doctor.__name__)
def test_doctored_run_is_named_by_the_check_it_breaks(tmp_path: Path, doctor: Callable[[Sample], None]) -> None:
    sample = Sample()
    doctor(sample)
    result = run(sample.write(tmp_path))
    broken, told = DOCTORED[doctor]
    assert result.exit_code == 1
    assert not_passed(tmp_path) == dict.fromkeys(broken, "fail"), result.output
    assert told in result.output
    assert "VERDICT: failed" in result.output


@pytest.mark.parametrize(
    ("file", "check"),
    [("raft-1.log", "Node logs"), ("client.log", "Client scenario"), ("history.jsonl", "Linearizability")],
)
def test_empty_file_is_named(tmp_path: Path, file: str, check: str) -> None:
    (Sample().write(tmp_path) / file).write_text("")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert any(file in violation and "empty" in violation for violation in checks_of(tmp_path)[check]["violations"])
    assert f"{file}: expected" in result.output


def test_no_input_is_vacuous_and_fails(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "vacuous" in result.output
    assert set(not_passed(tmp_path).values()) == {"vacuous"}
    assert len(not_passed(tmp_path)) == 12


@pytest.mark.parametrize(
    ("file", "checks"),
    [("client.log", {"Client scenario"}), ("history.jsonl", {"No acknowledged write lost", "Linearizability"})],
)
def test_what_has_nothing_to_show_it_is_vacuous(tmp_path: Path, file: str, checks: set[str]) -> None:
    (Sample().write(tmp_path) / file).unlink()
    assert run(tmp_path).exit_code == 1
    assert not_passed(tmp_path) == dict.fromkeys(checks, "vacuous")


def test_lines_that_are_no_events_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    log = Sample().write(tmp_path) / "raft-1.log"
    log.write_text("Traceback (most recent call last):\n" + log.read_text() + "[]\n")
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "2 lines are no events, the first at raft-1.log:1" in result.output


def test_bad_history_line_is_named(tmp_path: Path) -> None:
    history = Sample().write(tmp_path) / "history.jsonl"
    history.write_text(history.read_text() + "oops\n")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "history.jsonl:301: expected an operation" in result.output


DEEP = "[" * 100_000
PUT = {"client": "z", "id": 1, "key": "own", "op": "put", "value": "1", "call": 1, "return": 2, "result": "ok"}
READ = {**PUT, "id": 2, "op": "get", "call": 10**12, "return": 10**12 + 1}


def after_a_put(**read: Any) -> str:
    return f"{json.dumps(PUT)}\n{json.dumps({**READ, **read})}"


EVENT = {"ts": "2026-05-04T12:00:09Z", "node": "raft-0", "term": 2}

ODD = {
    "an event with an object for a name": ("raft-0.log", json.dumps({**EVENT, "event": {"a": 1}}), "Expected `str`"),
    "an event with a list for a name": ("raft-0.log", json.dumps({**EVENT, "event": []}), "Expected `str`"),
    "a line of a log, nested": ("raft-0.log", DEEP, "lines are no events"),
    "an event, nested": ("raft-0.log", '{"event":' + DEEP, "lines are no events"),
    "a line of the client, nested": ("client.log", '{"a":' * 100_000, "VERDICT"),
    "a result with more steps than can be": ("client.log", f"RESULT: passed, {'9' * 5000} of 1 steps held", "vacuous"),
    "an operation, nested": ("history.jsonl", f'{{"a":{DEEP}', "history.jsonl:301: expected an operation"),
    "a digit that is no number": ("history.jsonl", after_a_put(output="²"), "no value of any write"),
    "a number without end": ("history.jsonl", after_a_put(output="9" * 5000), "no value of any write"),
    "an increment by more than a number holds": (
        "history.jsonl",
        json.dumps({**PUT, "op": "incr", "value": "9" * 4000, "output": 1}),
        "expected a value that is an integer of 64 bits, found '999",
    ),
    "a call at the end of time": ("history.jsonl", after_a_put(output="1", call=10**400), "`$.call`"),
}


@pytest.mark.parametrize(("file", "line", "told"), ODD.values(), ids=ODD.keys())
def test_odd_line_is_judged_or_named(tmp_path: Path, file: str, line: str, told: str) -> None:
    odd = Sample().write(tmp_path) / file
    odd.write_text(f"{odd.read_text()}{line}\n")
    result = run(tmp_path)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert told in result.output


def test_new_data_directory_starts_with_a_new_term(tmp_path: Path) -> None:
    sample = Sample()
    life = next(place for place, line in enumerate(sample.logs["raft-0"]) if line["event"] == "storage_repaired")
    del sample.logs["raft-0"][life]
    sample.logs["raft-0"][life].update(incarnation="another-disk", term=0, last_log_index=0, last_log_term=0)
    assert run(sample.write(tmp_path)).exit_code == 0


def test_result_in_json(tmp_path: Path) -> None:
    sample = Sample()
    sample.client_log = json.dumps({"ts": "", "event": "result", "result": "passed", "held": 3, "steps": 3})
    assert run(sample.write(tmp_path)).exit_code == 0
    assert checks_of(tmp_path)["Client scenario"]["checked"] == 3


def test_missing_directory_is_bad_usage(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "does not exist" in result.output


def test_verdict_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (Sample().write(tmp_path) / "verdict.json").mkdir()
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "verdict.json: expected to write the verdict there" in result.output


def test_log_of_another_container_is_listed_and_not_judged(tmp_path: Path) -> None:
    (Sample().write(tmp_path) / "raft-0.init.log").write_text("made keys\n")
    assert run(tmp_path).exit_code == 0
    assert json.loads((tmp_path / "verdict.json").read_text())["inputs"]["files_not_judged"] == ["raft-0.init.log"]
