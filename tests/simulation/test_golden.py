"""Every golden script gives what is written below its ruler. A changed behaviour is a diff that a person reads."""

import pytest

from tests.simulation.golden import GoldenError, Story, play, scripts


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)
def test_golden_script(path):
    written = path.read_text()
    assert play(written) == written, "if this is meant: make golden, and read the diff"


def test_an_unknown_command_is_refused():
    with pytest.raises(GoldenError, match="docstring, found 'dance'"):
        Story().tell("dance n1")


def test_a_story_begins_with_a_cluster():
    with pytest.raises(GoldenError, match="`cluster` as the first"):
        Story().tell("crash n1")
