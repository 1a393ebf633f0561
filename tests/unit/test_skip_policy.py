"""A skip that the machine does not excuse fails a run with CI=true: tests/conftest.py is held to its word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def run(folder: Path, test: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(f"import pytest\n{test}\ndef test_that_runs():\n    pass\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "markers=kind", "."],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
    )


SKIPS = {
    "by mark": "@pytest.mark.skip(reason='tired')\ndef test_it():\n    pass",
    "while running": "def test_it():\n    pytest.skip('tired')",
    "while collecting": "pytest.importorskip('a_module_that_is_not_there', reason='tired')",
    "expected to fail": "@pytest.mark.xfail\ndef test_it():\n    assert False",
}


@pytest.mark.parametrize("skip", ["by mark", "while running", "while collecting"])
def test_a_skip_without_excuse_fails_in_ci_only(tmp_path: Path, skip: str) -> None:
    at_home = run(tmp_path, SKIPS[skip], CI="")
    in_ci = run(tmp_path, SKIPS[skip], CI="true")
    assert at_home.returncode in (0, 5), at_home.stdout  # 5: what was skipped was all there is
    assert in_ci.returncode in (1, 2), in_ci.stdout  # 2: while collecting
    assert "could have run what was skipped here: " in in_ci.stdout
    assert "tired" in in_ci.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    assert run(tmp_path, SKIPS["expected to fail"], CI="true").returncode == 0


def test_a_missing_engine_excuses_what_needs_one(tmp_path: Path) -> None:
    kind_test = "@pytest.mark.kind\ndef test_it():\n    pass"
    done = run(tmp_path, kind_test, CI="true", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
