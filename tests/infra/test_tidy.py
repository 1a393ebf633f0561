"""The house rules that no linter knows; each ban names what to do instead."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BANNED_IN_CODE = {
    r"\b(TODO|FIXME|XXX)\b": "do the work, or leave it out",
    r"\bpickle\b": "a typed msgspec message",
    r"^\s*except:": "the error that is expected here",
    r"\btime\.sleep\(": "a wait for a condition, with a deadline",
    r"\bdatetime\.utcnow\(": "datetime.now(UTC)",
}
ALLOWED = {("raft_zmq/node/faults.py", r"\btime\.sleep\("): "a slow disk on demand does nothing else but take time"}
LONG_FILES: dict[str, str] = {}  # a file of more than LINES_MAX lines, and the reason why it is one idea all the same
LINES_MAX = 500


def tracked(*patterns: str) -> list[Path]:
    """The project's own files, as far as git knows them; in an unpacked archive, all of them."""
    command = ["git", "-C", str(ROOT), "ls-files", "--", *patterns]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert names, f"no file matches {patterns}"
    return [ROOT / name for name in names if (ROOT / name).exists()]


@pytest.mark.parametrize("pattern", BANNED_IN_CODE)
def test_no_banned_words_in_the_code(pattern):
    own = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked("*.py")
        if path != own and (str(path.relative_to(ROOT)), pattern) not in ALLOWED
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert found == [], f"instead: {BANNED_IN_CODE[pattern]}"


def test_no_file_is_more_than_one_idea():
    long = {
        str(path.relative_to(ROOT)): count
        for path in tracked("*.py")
        if (count := len(path.read_text().splitlines())) > LINES_MAX
    }
    assert long.keys() == LONG_FILES.keys(), f"split it, or say in LONG_FILES why it is one idea: {long}"


def test_links_in_the_documents_lead_somewhere():
    broken = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} → {target}")
    assert broken == []


def test_the_stops_of_the_architecture_are_in_the_code():
    text = (ROOT / "docs" / "architecture.md").read_text()
    stops = re.findall(r"`(raft_zmq/[\w/]+\.py)::(\w+)`", text)
    assert len(stops) >= 10
    missing = [
        f"{file}::{name}"
        for file, name in stops
        if not re.search(rf"^\s*(def|class) {name}\b", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []
