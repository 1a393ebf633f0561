"""Text files as lines with their places, whichever way they were gathered."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# What `kubectl logs --timestamps` puts before each line: RFC 3339, then a space.
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")


class TextLine(NamedTuple):
    """`place` is for messages, for example "raft-0.log:12"."""

    place: str
    text: str


def read_lines(path: Path) -> Iterator[TextLine]:
    """The lines that hold anything, without the time stamps of kubectl."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            text = _STAMP.sub("", line.rstrip("\r\n"), count=1) if _STAMP.match(line) else line.strip()
            if text.strip():
                yield TextLine(f"{path.name}:{number}", text)
