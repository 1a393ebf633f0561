"""The records of decisions: numbered without gaps, all of one shape, and all in the list."""

import re

import pytest

from tests.infra.named_tests import ROOT

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
PARTS = ["Context", "Decision", "Consequences", "Violated when", "Evidence"]


def test_numbers_have_no_gaps_and_no_doubles():
    assert [int(path.name.split("-")[0]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_parts_and_stands_in_the_list(path):
    text = path.read_text()
    number, title = re.fullmatch(r"# (\d+)\. (.+)", text.splitlines()[0]).groups()
    assert int(number) == int(path.name.split("-")[0])
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    assert f"{number}. [{title}]({path.name})" in (FOLDER / "README.md").read_text().splitlines()
