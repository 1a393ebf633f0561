"""Everything the page shows, gathered from the facts of a run and its verdict."""

from collections.abc import Iterable
from pathlib import Path

import jinja2
import msgspec

from client.report import load, story, timeline
from client.verify.facts import NodeLog, Run
from client.verify.node_events import Checkpoint, NodeStarted
from client.verify.verdict import Verdict

TEMPLATE = "page.html.j2"


class NodeFacts(msgspec.Struct, frozen=True):
    """One line of the table of nodes."""

    node: str
    versions: str
    incarnations: str
    lives: int
    term: int
    applied: int
    digest: str
    lines: int


def render(title: str, run: Run, verdict: Verdict) -> str:
    """The page as HTML; whatever came from a file is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        title=title,
        verdict=verdict,
        held=sum(check.status == "pass" for check in verdict.checks),
        missing=missing(run),
        nodes=[node_facts(log) for log in run.logs],
        timeline=timeline.draw_timeline(run),
        story=story.tell(run.client),
        load=load.summarise(run.histories.operations),
        trouble=run.histories.trouble,
        unread=run.unread,
    )


def missing(run: Run) -> list[str]:
    """What a whole run would have left, and this one did not."""
    lacking = []
    if not run.logs:
        lacking.append("the logs of the nodes (<node>.log)")
    lacking += [f"any line in {log.file}" for log in run.logs if not log.lines]
    if run.client is None or not any(run.client.lines):
        lacking.append("the client's log (client.log)")
    if not run.histories.operations:
        lacking.append("operations of clients (history*.jsonl)")
    return lacking


def node_facts(log: NodeLog) -> NodeFacts:
    """What a node's log says of it as a whole."""
    starts = [line for life in log.lives for line in life.of(NodeStarted)]
    checkpoints = [line for life in log.lives for line in life.of(Checkpoint)]
    last = max(checkpoints, key=lambda line: line.index, default=None)
    return NodeFacts(
        node=log.node,
        versions=_each(start.version for start in starts),
        incarnations=_each(start.incarnation[:12] for start in starts),
        lives=len(log.lives),
        term=max((line.term for life in log.lives for line in life.lines), default=0),
        applied=last.index if last else 0,
        digest=last.digest if last else "",
        lines=log.lines,
    )


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value)) or "unknown"
