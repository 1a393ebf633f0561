"""From a folder of gathered files to facts; nothing is judged here, and nothing is passed over in silence."""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from client.linearizability import HistoryError, read_history
from client.verify.facts import ClientLog, Histories, Life, NodeLog, Run
from client.verify.lines import TextLine, json_object, read_lines
from client.verify.node_events import NodeLine, NodeStarted, StorageRepaired, decode_line
from raft_zmq.core.errors import SettingsError

CLIENT_LOG = "client.log"
_RESULT = re.compile(r"RESULT: (passed|failed)\b(?:, (\d{1,9}) of (\d{1,9}) steps? held)?")


def gather(folder: Path) -> Run:
    """Read the folder; raises SettingsError where a file cannot be read."""
    run = Run()
    try:
        for path in sorted(folder.glob("*.log")):
            if path.name == CLIENT_LOG:
                run.client = read_client_log(path.name, read_lines(path, blank=True))
            elif _is_sidecar(path):
                run.unread.append(path.name)
            else:
                run.logs.append(read_node_log(path.name, read_lines(path)))
        run.histories = read_histories(sorted(folder.glob("history*.jsonl")))
    except OSError as error:
        raise SettingsError(
            f"{error.filename}: expected a file that can be read, found: {error.strerror}. Correct its permissions."
        ) from None
    return run


def _is_sidecar(path: Path) -> bool:
    """Whether it is the log of another container beside a node or the client: raft-0.init.log beside raft-0.log."""
    main, dot, _ = path.stem.partition(".")
    return bool(dot) and path.with_name(f"{main}.log").exists()


def read_node_log(file: str, lines: Iterable[TextLine]) -> NodeLog:
    """One node's file, its lines in lives."""
    log = NodeLog(file=file, node=file.removesuffix(".log"))
    events: list[NodeLine] = []
    for place, text in lines:
        log.lines += 1
        try:
            line = decode_line(text)
        except msgspec.ValidationError as error:
            log.damaged.append(f"{place}: {error}")
            continue
        if line is None:
            log.strays.append(place)
        else:
            line.place = place
            events.append(line)
    log.lives = split_lives(log.node, events)
    return log


def split_lives(node: str, events: Iterable[NodeLine]) -> list[Life]:
    """Cut a node's lines at its starts; what it repaired on its disk just before belongs to the new life."""
    lives: list[Life] = []
    prelude: list[NodeLine] = []
    for line in events:
        if isinstance(line, StorageRepaired):
            prelude.append(line)
        elif isinstance(line, NodeStarted):
            lives.append(Life(node, len(lives) + 1, line, [*prelude, line]))
            prelude.clear()
        else:
            if not lives:
                lives.append(Life(node, 1, None, []))
            lives[-1].lines += [*prelude, line]
            prelude.clear()
    if prelude:
        lives.append(Life(node, len(lives) + 1, None, prelude))
    return lives


def read_client_log(file: str, lines: Iterable[TextLine]) -> ClientLog:
    """The client's story, as text or as JSON lines."""
    log = ClientLog(file)
    for _, text in lines:
        log.lines.append(text)
        fields = json_object(text)
        if fields is not None and fields.get("event") == "result":
            log.result = "passed" if fields.get("result") == "passed" else "failed"
            log.held, log.steps = _count(fields, "held"), _count(fields, "steps")
        elif match := _RESULT.search(text if fields is None else ""):
            log.result = match[1]
            log.held, log.steps = int(match[2] or 0), int(match[3] or 0)
    return log


def read_histories(paths: Iterable[Path]) -> Histories:
    """All history files as one history: their clients share one clock."""
    histories = Histories()
    lines: list[TextLine] = []
    for path in paths:
        before = len(lines)
        lines += read_lines(path)
        histories.files[path.name] = len(lines) - before
    try:
        histories.operations = read_history(lines)
    except HistoryError as error:
        histories.trouble = str(error)
    return histories


def _count(fields: dict[str, object], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0
