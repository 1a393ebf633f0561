"""Real runs of ansible-playbook; `Play` is what one said and how it ended."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PLAYBOOKS_AND_SITE = ["site.yml", *sorted(f"playbooks/{path.name}" for path in (ROOT / "playbooks").iterdir())]
PLAYBOOK_COMMAND = str(Path(sys.executable).with_name("ansible-playbook"))


class Play(NamedTuple):
    """How a run ended, and its output with the folds of long lines undone."""

    returncode: int
    output: str

    def error(self) -> str:
        """The line that says what is wrong, when there is exactly one."""
        errors: list[str] = re.findall(
            r"^\[ERROR\]: (?:Task failed: )?(?:Action failed: )?(.*)$", self.output, re.MULTILINE
        )
        assert len(errors) == 1, self.output
        return errors[0]


@pytest.fixture
def play() -> Callable[..., Play]:
    """Runs playbooks of the project with extra variables, and environment variables in place of this process's."""

    def play(
        *playbooks: str, environment: Mapping[str, str] | None = None, timeout_s: float = 110, **extra: str
    ) -> Play:
        variables = [option for name, value in extra.items() for option in ("-e", f"{name}={value}")]
        done = subprocess.run(
            [PLAYBOOK_COMMAND, *playbooks, *variables],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "400", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        return Play(done.returncode, done.stdout + done.stderr)

    return play
