"""What stands in the logs of the nodes, and that it stays."""

from collections.abc import Iterator
from itertools import pairwise

import msgspec

from client.verify.facts import Life, Run
from client.verify.node_events import Applied, BecameLeader, Checkpoint, LogTruncated, SnapshotInstalled, SteppedDown
from client.verify.verdict import Finding


def leader_append_only(run: Run) -> Finding:
    """A leader never overwrites or deletes entries in its log, it only appends new ones (Figure 3, §5.3)."""
    reigns = 0
    violations: list[str] = []
    for life in run.lives:
        led: dict[int, BecameLeader] = {}
        for line in life.lines:
            if isinstance(line, BecameLeader):
                reigns += 1
                led[line.term] = line
            elif isinstance(line, LogTruncated) and line.term in led:
                violations.append(
                    f"{line.place}: {line.node} cut its log from {line.first_index} in term {line.term}, which it led"
                )
            elif isinstance(line, SteppedDown) and line.term in led:
                begin = led[line.term]
                if line.last_log_index < begin.last_log_index:
                    violations.append(
                        f"{line.place}: {line.node} began to lead term {line.term} with {begin.last_log_index} entries "
                        f"({begin.place}) and ended with {line.last_log_index}"
                    )
    return Finding(reigns, f"{reigns} reigns", violations)


def log_matching(run: Run) -> Finding:
    """If two logs contain an entry with the same index and term, they are identical up to it (Figure 3, §5.3).

    The digest at an index stands for everything up to it. Along one log, terms never fall.
    """
    seen: dict[tuple[int, int], Checkpoint] = {}
    sources: dict[tuple[int, int], set[tuple[str, int]]] = {}
    violations: list[str] = []
    for life in run.lives:
        for line in life.of(Checkpoint):
            entry = (line.index, line.entry_term)
            first = seen.setdefault(entry, line)
            sources.setdefault(entry, set()).add((life.node, life.number))
            if line.digest != first.digest:
                violations.append(
                    f"index {line.index}, term {line.entry_term}: {first.node} has digest {first.digest} "
                    f"({first.place}), {line.node} has {line.digest} ({line.place})"
                )
        violations += _falling_terms(life)
    compared = sum(len(lives) > 1 for lives in sources.values())
    return Finding(compared, f"{compared} entries compared between nodes or lives", violations)


def _falling_terms(life: Life) -> Iterator[str]:
    checkpoints = sorted(life.of(Checkpoint), key=lambda line: line.index)
    for before, after in pairwise(checkpoints):
        if after.entry_term < before.entry_term:
            yield (
                f"{life.node}: entry {before.index} has term {before.entry_term} ({before.place}), the later entry "
                f"{after.index} has {after.entry_term} ({after.place})"
            )


class Commit(msgspec.Struct, frozen=True):
    """A node in `term` knew that `index` is committed; `entry_term` is None where it does not say."""

    term: int
    index: int
    entry_term: int | None
    place: str


def leader_completeness(run: Run) -> Finding:
    """An entry committed in a term is in the logs of the leaders of all higher terms (Figure 3, §5.4).

    By terms alone, not by clocks: what a node in term t knew to be committed was committed in t or before.
    """
    commits = sorted(_commits(run), key=lambda commit: commit.term)
    leaders = sorted(run.of(BecameLeader), key=lambda line: line.term)
    furthest = newest = Commit(0, 0, 0, "")
    compared = done = 0
    violations: list[str] = []
    for leader in leaders:
        while done < len(commits) and commits[done].term < leader.term:
            furthest = max(furthest, commits[done], key=lambda commit: commit.index)
            newest = max(newest, commits[done], key=lambda commit: commit.entry_term or 0)
            done += 1
        own = Commit(leader.term, leader.commit_index, None, leader.place)
        compared += furthest.index > 0
        lacking = [commit for commit in (furthest, newest, own) if _is_lacking(leader, commit)]
        violations += dict.fromkeys(_lacks(leader, commit) for commit in lacking)
    detail = f"{len(leaders)} leaders, {compared} of them after something was known to be committed"
    return Finding(len(leaders), detail, violations)


def _commits(run: Run) -> Iterator[Commit]:
    for line in run.of(Checkpoint):
        yield Commit(line.term, line.index, line.entry_term, line.place)
    for leader in run.of(BecameLeader):
        yield Commit(leader.term, leader.commit_index, None, leader.place)
    for cut in run.of(LogTruncated):
        yield Commit(cut.term, cut.commit_index, None, cut.place)


def _is_lacking(leader: BecameLeader, commit: Commit) -> bool:
    """Whether that entry cannot be in the log with which the leader began: it is too short, ends too old, or in
    another entry.
    """
    if commit.entry_term is None or commit.index > leader.last_log_index:
        return commit.index > leader.last_log_index
    if commit.index == leader.last_log_index:
        return commit.entry_term != leader.last_log_term
    return commit.entry_term > leader.last_log_term


def _lacks(leader: BecameLeader, commit: Commit) -> str:
    entry = f"{commit.index}" if commit.entry_term is None else f"{commit.index} (of term {commit.entry_term})"
    return (
        f"{leader.place}: {leader.node} leads term {leader.term} with a log that ends at {leader.last_log_index} "
        f"(of term {leader.last_log_term}) and lacks entry {entry}, committed by term {commit.term} ({commit.place})"
    )


def committed_stays(run: Run) -> Finding:
    """commitIndex and lastApplied increase monotonically (Figure 2), and what is committed is never cut (§5.3)."""
    checked = 0
    violations: list[str] = []
    for log in run.logs:
        committed_before = (0, "")  # in earlier lives on the same disk
        incarnation: str | None = None
        for life in log.lives:
            if life.incarnation != incarnation:
                committed_before = (0, "")
            incarnation = life.incarnation
            watch = _Committed(committed_before)
            for line in life.lines:
                checked += watch.take(line, violations)
            committed_before = max(committed_before, watch.applied, watch.committed)
    return Finding(checked, f"{checked} lines show what was committed or applied", violations)


class _Committed:
    """How far one life has come. Applied and commit index are held to their own past only: within a round the applied
    index is written first, so it may be ahead of a commit index that the core reports of the same round.
    """

    def __init__(self, committed_before: tuple[int, str]) -> None:
        self.applied = (0, "")
        self.committed = (0, "")
        self.before = committed_before

    def take(self, line: object, violations: list[str]) -> int:
        """Hold one line to those before it; returns whether it says anything of this."""
        if isinstance(line, Applied | SnapshotInstalled):
            self.applied = _risen(line.node, "applied", self.applied, (line.index, line.place), violations)
        elif isinstance(line, BecameLeader | LogTruncated):
            now = (line.commit_index, line.place)
            self.committed = _risen(line.node, "committed", self.committed, now, violations)
            if isinstance(line, LogTruncated):
                self.take_cut(line, violations)
        else:
            return 0
        return 1

    def take_cut(self, line: LogTruncated, violations: list[str]) -> None:
        index, place = max(self.committed, self.before)
        if line.first_index <= index:
            violations.append(
                f"{line.place}: {line.node} cut its log from {line.first_index}, and {index} was committed ({place})"
            )


def _risen(
    node: str, what: str, before: tuple[int, str], now: tuple[int, str], violations: list[str]
) -> tuple[int, str]:
    if now[0] < before[0]:
        violations.append(f"{now[1]}: {node} has {what} {now[0]}, after {before[0]} at {before[1]}")
        return before
    return now
