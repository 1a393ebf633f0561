"""Which code was measured: its commit, and whether files differed from it."""

import subprocess

import pytest

from tests.performance import machine


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=any", "-c", "user.email=any@example"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "docs").mkdir()
    (tmp_path / "node.py").write_text("")
    (tmp_path / "docs" / "performance.md").write_text("")
    git("init")
    git("add", ".")
    git("commit", "--message", "any")
    return tmp_path


def test_a_commit_is_named_and_documents_do_not_change_it(checkout):
    commit = machine.code(checkout)
    assert len(commit) == 7
    (checkout / "docs" / "performance.md").write_text("figures")
    (checkout / "docs" / "run.json").write_text("{}")
    assert machine.code(checkout) == commit


@pytest.mark.parametrize("name", ["node.py", "new.py"])
def test_code_that_is_not_in_the_commit_shows(checkout, name):
    commit = machine.code(checkout)
    (checkout / name).write_text("changed")
    assert machine.code(checkout) == f"{commit}+"


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.code(tmp_path) == ""
