"""The run as it is told: numbered steps with what was expected and what was found, as text or as JSON lines."""

import datetime
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import msgspec
from prometheus_client import Counter

from raft_zmq.core.errors import RaftLabError

_LABEL_WIDTH = 10


class StepFailedError(RaftLabError):
    """A step found something else than it expected; the text says what."""


class Step:
    """One step under way; `expected` and `got` are printed at its end."""

    def __init__(self, story: "Story", number: int, title: str, expected: str) -> None:
        self.number = number
        self.title = title
        self.expected = expected
        self.got = ""
        self._story = story

    def say(self, text: str) -> None:
        """A detail, printed at once."""
        self._story.detail(self, text)

    def check(self, holds: bool, got: object) -> None:
        """Note what was found; raises StepFailedError if that is not what was expected."""
        self.got = str(got)
        if not holds:
            raise StepFailedError(self.got)


class Outcome(msgspec.Struct, frozen=True):
    """A step that has ended."""

    number: int
    title: str
    held: bool
    expected: str
    got: str
    duration_ms: float


class Progress(msgspec.Struct):
    """What GET /progress shows."""

    name: str
    url: str
    service: str
    state: str = "running"  # then passed or failed
    step: str = ""
    steps: list[Outcome] = []


class Story:
    """Prints the steps and remembers how they ended; every line goes out at once."""

    def __init__(self, progress: Progress, counter: Counter, *, as_json: bool, out: TextIO | None = None) -> None:
        self.progress = progress
        self._counter = counter
        self._as_json = as_json
        self._out = out or sys.stdout
        self._coloured = self._out.isatty() and not as_json

    def header(self, facts: dict[str, str]) -> None:
        """The facts of the run, before the first step."""
        if self._as_json:
            self._json("run_started", **facts)
            return
        width = max(map(len, facts))
        for name, value in facts.items():
            self._line(f"{name:<{width}}  {value}")

    @contextmanager
    def step(self, title: str, expected: str) -> Iterator[Step]:
        """Run the body as the next step. An error of ours in it fails the step, and the run goes on."""
        step = Step(self, len(self.progress.steps) + 1, title, expected)
        self.progress.step = title
        if not self._as_json:
            self._line(f"\n{self._bold(f'Step {step.number}: {title}')}")
        started = time.monotonic()
        held = True
        try:
            yield step
        except RaftLabError as error:
            held, step.got = False, str(error)
        outcome = Outcome(step.number, title, held, expected, step.got, round((time.monotonic() - started) * 1000, 1))
        self.progress.steps.append(outcome)
        self._counter.labels("held" if held else "failed").inc()
        self._ended(outcome)

    def detail(self, step: Step, text: str) -> None:
        """A line within a step."""
        if self._as_json:
            self._json("detail", step=step.number, text=text)
        else:
            self._line(f"    {text}")

    def result(self) -> bool:
        """The last line; whether every step held."""
        steps = self.progress.steps
        held = sum(outcome.held for outcome in steps)
        passed = held == len(steps) > 0
        self.progress.state = "passed" if passed else "failed"
        self.progress.step = ""
        verdict = f"{self.progress.state}, {held} of {len(steps)} steps held"
        if self._as_json:
            failed = [outcome.title for outcome in steps if not outcome.held]
            self._json("result", result=self.progress.state, held=held, steps=len(steps), failed=failed)
            return passed
        self._line("")
        for outcome in steps:
            if not outcome.held:
                self._line(f"did not hold: step {outcome.number}, {outcome.title}: {outcome.got}")
        self._line(self._paint(f"RESULT: {verdict}", "32" if passed else "31"))
        return passed

    def _ended(self, outcome: Outcome) -> None:
        if self._as_json:
            self._json("step", **msgspec.structs.asdict(outcome))
            return
        self._line(f"    {'expected:':<{_LABEL_WIDTH}}{outcome.expected}")
        self._line(f"    {'got:':<{_LABEL_WIDTH}}{outcome.got}")
        word = self._paint("ok", "32") if outcome.held else self._paint("FAILED", "31")
        self._line(f"    {word} ({duration_text(outcome.duration_ms)})")

    def _json(self, event: str, **fields: object) -> None:
        stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._line(json.dumps({"ts": stamp, "level": "info", "event": event, **fields}, ensure_ascii=False))

    def _line(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def _bold(self, text: str) -> str:
        return self._paint(text, "1")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text


def duration_text(milliseconds: float) -> str:
    """A time for people: "0.4 ms", "12 ms", "3.1 s"."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def plural(count: int, one: str, many: str = "") -> str:
    """Count and noun: "1 key", "3 keys", "2 entries"."""
    return f"{count} {one if count == 1 else many or one + 's'}"
