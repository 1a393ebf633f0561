"""Who led, who voted, and which term it was."""

from collections.abc import Iterable

from client.verify.facts import Run
from client.verify.node_events import (
    BecameCandidate,
    BecameFollower,
    BecameLeader,
    CoreLine,
    LeaderElected,
    NodeLine,
    NodeStarted,
    SteppedDown,
    VoteGranted,
)
from client.verify.verdict import Finding


def election_safety(run: Run) -> Finding:
    """At most one leader can be elected in a given term (Figure 3, §5.2): as leaders and followers tell it alike."""
    leaders: dict[int, dict[str, str]] = {}  # term -> leader -> the first place that says so
    for line in run.of(CoreLine):
        if leader := _leader(line):
            leaders.setdefault(line.term, {}).setdefault(leader, line.place)
    violations = [
        f"term {term}: expected one leader, found {_and(f'{leader} ({place})' for leader, place in told.items())}"
        for term, told in sorted(leaders.items())
        if len(told) > 1
    ]
    return Finding(len(leaders), f"{len(leaders)} terms had a leader", violations)


def _leader(line: CoreLine) -> str:
    """Whom the line names as leader of its term; "" if nobody."""
    if isinstance(line, BecameLeader):
        return line.node
    return line.leader_id if isinstance(line, LeaderElected | BecameFollower) else ""


def one_vote(run: Run) -> Finding:
    """Each server votes for at most one candidate in a given term (§5.2, Figure 2), and who won names true voters."""
    votes: dict[tuple[str, str, int], dict[str, str]] = {}  # (node, incarnation, term) -> candidate -> place
    for life in run.lives:
        for line in life.of(CoreLine):
            if not isinstance(line, VoteGranted | BecameCandidate):
                continue
            candidate = line.candidate_id if isinstance(line, VoteGranted) else line.node
            votes.setdefault((life.node, life.incarnation, line.term), {}).setdefault(candidate, line.place)
    violations = [
        f"{node}, term {term}: expected one vote, found votes for "
        f"{_and(f'{candidate} ({place})' for candidate, place in given.items())}"
        for (node, _, term), given in votes.items()
        if len(given) > 1
    ]
    given_by: dict[tuple[str, int], set[str]] = {}
    for (node, _, term), given in votes.items():
        given_by.setdefault((node, term), set()).update(given)
    violations += [
        f"{line.place}: {line.node} counts the vote of {voter} in term {line.term}, "
        f"whose log shows a vote for {_and(sorted(given_by[voter, line.term]))}"
        for line in run.of(BecameLeader)
        for voter in line.votes
        if line.node not in given_by.get((voter, line.term), {line.node})
    ]
    return Finding(len(votes), f"{len(votes)} votes", violations)


def terms_never_go_back(run: Run) -> Finding:
    """A server's current term increases monotonically, over restarts too (§5.1, Figure 2: it is persistent state).

    A node with a new data directory starts anew, as another server (rule: it has no vote under its old identity).
    """
    checked = 0
    violations: list[str] = []
    for log in run.logs:
        incarnation, newest = "", (0, "")  # the newest term of a server so far, and where it stands
        for life in log.lives:
            if life.incarnation != incarnation:
                incarnation, newest = life.incarnation, (0, "")
            for line in filter(_shows_term, life.lines):
                checked += 1
                if line.term < newest[0]:
                    violations.append(
                        f"{line.place}: {line.node} is in term {line.term}, after term {newest[0]} at {newest[1]}"
                    )
                newest = (line.term, line.place)  # a term that went back is told once, not for every line that follows
    return Finding(checked, f"{checked} lines show a term", violations)


def _shows_term(line: NodeLine) -> bool:
    """Whether the line's term is that of the node: one that stepped down shows the term it led, which may be over, and
    what is written before the disk was read shows none.
    """
    if isinstance(line, SteppedDown):
        return False
    return line.term > 0 or isinstance(line, CoreLine | NodeStarted)


def _and(things: Iterable[str]) -> str:
    return " and ".join(things)
