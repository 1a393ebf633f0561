"""What the clients saw: the scenario of the lab, and the histories."""

from client.linearizability import Outcome, check_history
from client.verify.facts import Histories, Run
from client.verify.lost_writes import find_lost_writes
from client.verify.verdict import Finding


def scenario(run: Run) -> Finding:
    """The client's scenario ended, and every step of it held."""
    log = run.client
    if log is None:
        return Finding(0, "no client.log")
    if not any(log.lines):
        return Finding(0, "client.log is empty", [f"{log.file}: expected the story of the client, found an empty file"])
    if not log.result:
        trouble = f"{log.file}: expected a last line `RESULT: passed, ...`, found none: the run did not end"
        return Finding(0, "no result", [trouble])
    detail = f"{log.result}, {log.held} of {log.steps} steps held"
    if log.result != "passed" or log.held != log.steps:
        return Finding(log.steps, detail, [f"{log.file}: expected every step to hold, found: {detail}"])
    return Finding(log.steps, detail)


def acknowledged_writes(run: Run) -> Finding:
    """A write that was acknowledged is there for every read that begins later (§5.3, §8)."""
    if troubles := _unreadable(run.histories):
        return Finding(0, "the history cannot be judged", troubles)
    found = find_lost_writes(run.histories.operations)
    detail = f"{found.acknowledged} writes acknowledged, {found.checked} of them with a later read"
    return Finding(found.checked, detail, found.lost)


def linearizability(run: Run) -> Finding:
    """Each operation takes effect at one moment between its call and its answer (§8; Herlihy & Wing 1990)."""
    if troubles := _unreadable(run.histories):
        return Finding(0, "the history cannot be judged", troubles)
    operations = run.histories.operations
    verdicts = check_history(operations)
    violations: list[str] = []
    for verdict in verdicts:
        if verdict.explanation is not None:
            violations.append("\n".join(verdict.explanation.lines()))
        elif verdict.outcome is Outcome.UNDECIDED:
            violations.append(
                f"key {verdict.key}: undecided after {verdict.steps} steps over {verdict.operations} operations; "
                "spread the workload over more keys"
            )
    clients = len({operation.client for operation in operations})
    unknown = sum(operation.result == "unknown" for operation in operations)
    detail = f"{len(operations)} operations of {clients} clients on {len(verdicts)} keys, {unknown} unanswered"
    return Finding(sum(operation.result == "ok" for operation in operations), detail, violations)


def _unreadable(histories: Histories) -> list[str]:
    empty = [name for name, lines in histories.files.items() if not lines]
    troubles = [f"{name}: expected recorded operations, found an empty file" for name in empty]
    return [*troubles, histories.trouble] if histories.trouble else troubles
