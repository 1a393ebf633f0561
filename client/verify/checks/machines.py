"""What the state machines of the nodes have applied."""

from client.verify.facts import Run
from client.verify.node_events import Checkpoint
from client.verify.verdict import Finding


def state_machine_safety(run: Run) -> Finding:
    """If a server has applied an entry at an index, no other applies a different one there (Figure 3, §5.4.3).

    Equal digests at an index mean that everything up to it was applied alike, in the same order.
    """
    first: dict[int, Checkpoint] = {}
    sources: dict[int, set[tuple[str, int]]] = {}
    violations: list[str] = []
    for life in run.lives:
        for line in life.of(Checkpoint):
            other = first.setdefault(line.index, line)
            sources.setdefault(line.index, set()).add((life.node, life.number))
            if (line.digest, line.entry_term) != (other.digest, other.entry_term):
                violations.append(
                    f"index {line.index}: {other.node} applied up to digest {other.digest} of term {other.entry_term} "
                    f"({other.place}), {line.node} up to {line.digest} of term {line.entry_term} ({line.place})"
                )
    compared = [index for index, lives in sources.items() if len(lives) > 1]
    detail = f"{len(compared)} indexes compared between nodes or lives"
    if compared:
        detail += f", the highest {max(compared)}"
    return Finding(len(compared), detail, violations)
