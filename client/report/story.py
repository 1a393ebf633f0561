"""The client's own account of its run, as lines to read, whichever way it was logged."""

import re
from typing import Any

import msgspec

from client.verify.facts import ClientLog
from client.verify.lines import json_object

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class StoryLine(msgspec.Struct, frozen=True):
    """`kind` is step, held, failed or plain."""

    kind: str
    text: str


def tell(log: ClientLog | None) -> list[StoryLine]:
    """Every line of the client's log; nothing where there is none."""
    return [told for line in (log.lines if log else []) for told in _tell(_COLOUR.sub("", line))]


def _tell(line: str) -> list[StoryLine]:
    fields = _event(line)
    if fields is None:
        return [StoryLine(_kind(line), line)]
    match fields.get("event"):
        case "step":
            return [
                StoryLine("step", f"Step {fields.get('number')}: {fields.get('title')}"),
                StoryLine("plain", f"    expected: {fields.get('expected')}"),
                StoryLine("plain", f"    got:      {fields.get('got')}"),
                StoryLine(
                    "held" if fields.get("held") else "failed",
                    f"    {'ok' if fields.get('held') else 'FAILED'} ({fields.get('duration_ms')} ms)",
                ),
            ]
        case "result":
            text = f"RESULT: {fields.get('result')}, {fields.get('held')} of {fields.get('steps')} steps held"
            return [StoryLine(_kind(text), text)]
        case "detail":
            return [StoryLine("plain", f"    {fields.get('text')}")]
    told = ", ".join(f"{name} {value}" for name, value in fields.items() if name not in ("ts", "level", "event"))
    return [StoryLine("plain", f"{fields.get('event')}: {told}")]


def _kind(text: str) -> str:
    bare = text.strip()
    if bare.startswith("Step "):
        return "step"
    if bare.startswith(("FAILED", "did not hold", "RESULT: failed")):
        return "failed"
    return "held" if bare.startswith(("ok (", "RESULT: passed")) else "plain"


def _event(line: str) -> dict[str, Any] | None:
    fields = json_object(line)
    return fields if fields is not None and "event" in fields else None
