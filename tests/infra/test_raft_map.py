"""docs/raft.md is true: the functions and tests it names exist, every rule has both, and no rule is left out."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.infra.named_tests import ROOT, defined_tests, parse

PAGE = ROOT / "docs" / "raft.md"
HEADER = ["rule", "done by", "held by"]
LINK = re.compile(r"\[`([\w/]+\.py)::([\w.]+)`\]\[([\w/.]+)\]")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
REFERENCE = re.compile(r"^\[([\w/.]+)\]: \.\./(\S+)$", re.MULTILINE)
RULES = range(1, 29)
SECTIONS = {  # what the page has to cover, and how many rules the source has there
    "Figure 2: State": 7,
    "Figure 2: AppendEntries RPC": 5,
    "Figure 2: RequestVote RPC": 2,
    "Figure 2: Rules for all servers": 2,
    "Figure 2: Rules for followers": 2,
    "Figure 2: Rules for candidates": 4,
    "Figure 2: Rules for leaders": 4,
    "Figure 13: InstallSnapshot RPC": 8,
    "Thesis 3.10: Leadership transfer": 3,
    "Thesis 4: Membership changes": 6,
    "Thesis 6: Clients": 6,
    "Thesis 9.6: Pre-vote": 2,
    "Rules that are easy to get wrong": len(RULES),
}


class Row(NamedTuple):
    section: str
    rule: str
    done_by: str
    held_by: str


def rows() -> list[Row]:
    """The rows of all tables of the page."""
    found, section, header = [], "", False
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            header = False
        elif not header:
            assert cells == HEADER, f"{section}: expected a table with the columns {HEADER}, found {cells}"
            header = True
        elif set("".join(cells)) - set("-|"):
            assert len(cells) == len(HEADER), f"{section}: expected three cells, found {line}"
            found.append(Row(section, *cells))
    return found


ROWS = rows()


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or class defines, by name; of a class also what its methods set on `self`."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    methods = [node for node in body if isinstance(node, ast.FunctionDef)]
    for target in (node for method in methods for node in ast.walk(method)):
        if isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store):
            found.setdefault(target.attr, methods[0])
    return found


def defines(path: Path, name: str) -> bool:
    """Whether the file defines `function`, `Class`, `Class.method` or `Class.attribute`."""
    body = parse(path).body
    for part in name.split("."):
        node = names_in(body).get(part)
        if node is None:
            return False
        body = node.body if isinstance(node, ast.ClassDef) else []
    return True


def test_every_source_is_covered_whole():
    counts = {section: sum(row.section == section for row in ROWS) for section in SECTIONS}
    short = {section: (counts[section], least) for section, least in SECTIONS.items() if counts[section] < least}
    assert short == {}, "section: (rows found, rules in the source)"


def test_each_of_the_28_rules_has_its_row():
    numbers = [int(row.rule.split(".")[0]) for row in ROWS if row.section == "Rules that are easy to get wrong"]
    assert numbers == list(RULES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.rule[:40]}")
def test_a_rule_names_what_does_it_and_what_holds_it(row):
    functions, tests = LINK.findall(row.done_by), TEST.findall(row.held_by)
    assert functions, "expected a function as [`core/rules.py::advance_commit_index`][rules]"
    assert tests, "expected a test as `tests/unit/test_log.py::test_term_at`"
    files = dict(REFERENCE.findall(PAGE.read_text()))
    for file, name, label in functions:
        path = ROOT / "raft_zmq" / file
        assert path.is_file(), f"{path.relative_to(ROOT)} is not there"
        assert defines(path, name), f"{file} defines no {name}"
        assert files.get(label) == f"raft_zmq/{file}", f"the link [{label}] does not lead to {file}"
    for file, name in tests:
        path = ROOT / file
        assert path.is_file(), f"{file} is not there"
        assert name in {test.name for test in defined_tests(path)}, f"{file} has no {name}"


def test_a_name_that_is_not_there_is_noticed():
    rules = ROOT / "raft_zmq" / "core" / "rules.py"
    state = ROOT / "raft_zmq" / "core" / "state.py"
    assert defines(rules, "advance_commit_index")
    assert not defines(rules, "advance_commit_indexes")
    assert defines(state, "State.current_term")
    assert defines(state, "State.may_vote")
    assert not defines(state, "State.may_not_vote")
    assert not defines(rules, "advance_commit_index.inner")
