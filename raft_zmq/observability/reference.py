"""`python -m raft_zmq.observability.reference` prints docs/log-events.md, made from the event classes."""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Final, get_args, get_origin, get_type_hints

import msgspec

from raft_zmq.core.events import CoreEvent, Event
from raft_zmq.observability.events import EVENTS, NodeEvent
from raft_zmq.observability.log import level_of, name_of

_PREFACE: Final = """\
# Log events

A node writes one JSON object a line to stdout. This page is made from the code by
`python -m raft_zmq.observability.reference > docs/log-events.md`; a test keeps the two equal.

Every line has these fields, in this order, before those of its event:

| field | type | meaning |
|---|---|---|
| `ts` | text | UTC time, RFC 3339 with microseconds: `2031-05-04T03:02:01.000000Z` |
| `level` | text | `debug`, `info`, `warning` or `error`; the setting `log_level` is the least one written |
| `event` | text | one of the names below |
| `node` | text | the id of the node that writes |
| `term` | integer | the node's current term as it is on disk (Figure 2); in `stepped_down` the term it led |

The term of an entry is `entry_term` or `last_log_term`, never `term`. "§" is a section of the Raft paper, "thesis"
Ongaro's dissertation. A field may be added to an event at any time: skip what you do not know.
"""
_FIELD: Final = re.compile(r"^    (?P<name>\w+): (?P<type>[^#\n]+?)  # (?P<meaning>.+)$", re.MULTILINE)
_TYPES: Final[dict[object, str]] = {str: "text", int: "integer", float: "number", bool: "true or false"}


def reference() -> str:
    """The page in Markdown."""
    parts = [
        _PREFACE,
        "## Raft (from `raft_zmq/core/events.py`)\n",
        *map(_section, get_args(Event)),
        "## The node around it (from `raft_zmq/observability/events.py`)\n",
        *map(_section, EVENTS),
    ]
    return "\n".join(parts)


def _section(event: type[CoreEvent | NodeEvent]) -> str:
    lines = [f"### {name_of(event)}\n", f"{inspect.getdoc(event)} Level: {level_of(event)}.\n"]
    rows = list(_rows(event))
    if rows:
        lines += ["| field | type | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _rows(event: type[CoreEvent | NodeEvent]) -> Iterator[str]:
    meanings = {found["name"]: found["meaning"] for found in _FIELD.finditer(inspect.getsource(event))}
    hints = get_type_hints(event)
    for field in msgspec.structs.fields(event):
        if field.name != "term":  # every line has it
            yield f"| `{field.name}` | {_type_name(hints[field.name])} | {meanings[field.name]} |"


def _type_name(hint: object) -> str:
    if get_origin(hint) is tuple:
        return f"list of {_type_name(get_args(hint)[0])}"
    return _TYPES[hint]


if __name__ == "__main__":
    sys.stdout.write(reference())
