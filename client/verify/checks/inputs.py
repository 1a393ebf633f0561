"""Whether everything is there that the other checks rest on."""

from client.verify.facts import NodeLog, Run
from client.verify.node_events import MembershipChanged, NodeStarted
from client.verify.verdict import Finding


def node_logs(run: Run) -> Finding:
    """Every server that was ever a member has its log here, with its start, and its events can be read."""
    violations = [trouble for log in run.logs for trouble in _troubles(log)]
    there = {log.node for log in run.logs}
    for node, place in sorted(members(run).items()):
        if node not in there:
            violations.append(f"{node}.log: expected the log of a member ({place} names it), found none")
    lines = sum(log.lines for log in run.logs)
    lives = len(run.lives)
    detail = f"{len(run.logs)} nodes, {lives} lives, {lines} lines"
    strays = [place for log in run.logs for place in log.strays]
    if strays:
        detail += f"; {len(strays)} lines are no events, the first at {strays[0]}"
    cut = [life.lines[0].place for life in run.lives if life.started is None and life.lines]
    if cut:
        detail += f"; begins in the middle of a life: {', '.join(cut)}"
    return Finding(len(run.logs), detail, violations)


def members(run: Run) -> dict[str, str]:
    """Every server that was ever named a member, with the first place that does."""
    named: dict[str, str] = {}
    for started in run.of(NodeStarted):
        for node in started.members:
            named.setdefault(node, started.place)
    for change in run.of(MembershipChanged):
        for node in (*change.voters, *change.outgoing, *change.learners):
            named.setdefault(node, change.place)
    return named


def _troubles(log: NodeLog) -> list[str]:
    if log.lines == 0:
        return [f"{log.file}: expected the log lines of {log.node}, found an empty file"]
    troubles = [f"{damaged} (expected an event as in docs/log-events.md)" for damaged in log.damaged]
    if not any(life.started for life in log.lives):
        troubles.append(f"{log.file}: expected a line with the event node_started, found none in {log.lines} lines")
    strangers = sorted({line.node for life in log.lives for line in life.lines} - {log.node})
    if strangers:
        troubles.append(f"{log.file}: expected lines of {log.node}, found lines of {', '.join(strangers)}")
    return troubles
