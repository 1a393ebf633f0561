"""The net holds: every known bug, planted on purpose, is caught within its seeds, and the same seeds find no other."""

import pytest

from tests.simulation.known_bugs import BUGS, CAUGHT, DOCUMENT, find

BY_NAME = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
RULES = {1, 2, 3, 4, 5, 9, 13, 16, 17, 20, 21, 22}


@pytest.mark.interpreted
@BY_NAME
def test_a_planted_bug_is_caught(bug):
    whole = getattr(bug.owner, bug.attribute)
    with bug.planted():
        assert getattr(bug.owner, bug.attribute) is not whole
        catch = find(bug, bug.seeds)
    assert getattr(bug.owner, bug.attribute) is whole
    assert catch is not None, f"{bug.name}: expected to be caught within {bug.seeds} seeds"
    assert catch.failure.startswith(CAUGHT), "the bug broke more than its rule"
    without = find(bug, catch.seed)
    assert without is None, f"without the bug, seed {without.seed} finds: {without.failure}"


def test_every_rule_of_the_list_is_broken_once():
    assert {bug.rule for bug in BUGS} == RULES


def test_the_document_lists_what_is_planted():
    lines = DOCUMENT.read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert [each[:3] for each in cells[1:]] == [[str(bug.rule), bug.broken, str(bug.seeds)] for bug in BUGS]
    assert all(1 <= int(took) <= int(may_take) for _, _, may_take, took, _ in cells[1:])
