"""Text files as lines with their places, whichever way they were gathered."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

# What `kubectl logs --timestamps` puts before each line: RFC 3339, then a space.
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")


class TextLine(NamedTuple):
    """`place` is for messages, for example "raft-0.log:12"."""

    place: str
    text: str


def read_lines(path: Path, blank: bool = False) -> Iterator[TextLine]:
    """The lines without the time stamps of kubectl; `blank` ones are left out unless asked for."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            stamp = _STAMP.match(line)
            text = line[stamp.end() if stamp else 0 :].rstrip()
            if text or blank:
                yield TextLine(f"{path.name}:{number}", text)


def json_object(text: str) -> dict[str, Any] | None:
    """The line as a JSON object, or None where it is none, or is nested too deeply to be one of ours."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
