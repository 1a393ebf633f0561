"""Bugs that implementations of Raft are known for, each planted on purpose, to prove that the simulator's net holds.

    python -m tests.simulation.known_bugs           plant each, say after how many seeds it was caught, and by what
    python -m tests.simulation.known_bugs --write   the same, into docs/known-bugs.md

A bug is a function or method of the core, or of what answers a node's clients, that is replaced while a seed runs.
Seeds draw their plans as ever; for a rare bug the plan is steered: other settings, or only some kinds of faults.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import msgspec

from raft_zmq.core import elections, following, reads, rules
from raft_zmq.core.errors import InvariantError
from raft_zmq.core.log import RaftLog
from raft_zmq.core.messages import VoteRequest
from raft_zmq.core.raft import Raft
from raft_zmq.core.state import State
from raft_zmq.node.requests import Requests
from raft_zmq.wire.commands import Get, OpenSession
from tests.simulation.network import CALM, Weather, isolate
from tests.simulation.plan import Plan, draw
from tests.simulation.run import run_plan
from tests.simulation.service import Reply
from tests.simulation.shrink import kind_of
from tests.simulation.world import World

CAUGHT = "InvariantError: "  # how the finding of an invariant, or of the check of the history, begins
DOCUMENT = Path(__file__).parents[2] / "docs" / "known-bugs.md"


class Bug(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule, under its number in the list of rules that implementations get wrong."""

    name: str
    rule: int
    broken: str
    seeds: int  # within so many it is caught
    owner: Any  # the module or class …
    attribute: str  # … and which function of it is replaced
    replacement: Any
    options: dict[str, Any] = {}  # settings of every plan
    faults: tuple[str, ...] = ()  # every planned fault is of one of these kinds; () leaves the plan as drawn
    story: Callable[[int], None] | None = None  # for what chance shows too seldom: takes the place of a plan

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """The core is broken in the block, and whole again after it, however it ends."""
        with mock.patch.object(self.owner, self.attribute, self.replacement):
            yield

    def plan(self, seed: int) -> Plan:
        """That seed's plan, steered towards what shows the bug."""
        plan = draw(seed)
        options = msgspec.structs.replace(plan.options, **self.options)
        faults = plan.faults
        if self.faults:
            rng = Random(f"{seed}/{self.name}")
            faults = tuple(msgspec.structs.replace(fault, kind=rng.choice(self.faults)) for fault in faults)
        return msgspec.structs.replace(plan, options=options, faults=faults)


class Catch(msgspec.Struct, frozen=True):
    """The first seed that failed, and how."""

    seed: int
    failure: str


def find(bug: Bug, seeds: int) -> Catch | None:
    """Run the bug's plans from seed 1 on, until one fails; None when all of them pass."""
    for seed in range(1, seeds + 1):
        failure = _tell(bug.story, seed) if bug.story else run_plan(bug.plan(seed))[0].failure
        if failure and "vacuous" not in failure:
            return Catch(seed, failure)
    return None


def _tell(story: Callable[[int], None], seed: int) -> str:
    try:
        story(seed)
    except InvariantError as error:
        return f"{CAUGHT}{error}"
    return ""


# -- the broken functions ----------------------------------------------------------------------------------------------


_advance_commit_index = rules.advance_commit_index


def _commit_whatever_a_majority_holds(state: State) -> bool:
    with mock.patch.object(state.log, "term_at", return_value=state.current_term):
        return _advance_commit_index(state)


_match_indexes = rules.match_indexes


def _count_what_is_not_synced(state: State) -> dict[str, int]:
    return {**_match_indexes(state), state.config.node_id: state.log.last_index}


def _overwrite_from_the_first_entry(state: State, entries: Any) -> None:
    if entries:
        if entries[0].index <= state.log.last_index:
            following._truncate(state, entries[0].index)
        state.log.append(entries)
        rules.adopt_configurations(state, entries)


_reply_up_to = following._reply_up_to


def _commit_to_the_end_of_the_log(state: State, sender: str, request: Any, match_index: int) -> None:
    state.commit_index = max(state.commit_index, min(request.leader_commit, state.log.last_index))
    _reply_up_to(state, sender, request, match_index)


_handle_vote_reply = elections.handle_vote_reply


def _count_messages(state: State, sender: str, incarnation: str, reply: Any) -> None:
    if reply.granted and state.votes.get(sender):
        for member in state.membership.voters:
            if member.node_id not in state.votes:
                sender, incarnation = member.node_id, member.incarnation
                break
    _handle_vote_reply(state, sender, incarnation, reply)


_meet_newer_term = Raft._meet_newer_term


def _enter_the_term_of_a_pre_vote(raft: Raft, sender: str, message: Any) -> None:
    if isinstance(message, VoteRequest) and message.pre_vote:
        rules.become_follower(raft.state, message.term, "")
    else:
        _meet_newer_term(raft, sender, message)


_truncate = following._truncate


def _truncate_and_keep_the_membership(state: State, first_index: int) -> None:
    kept = list(state.memberships)
    _truncate(state, first_index)
    state.memberships = kept


def _newest_committed_membership(state: State) -> Any:
    return next(each for index, each in reversed(state.memberships) if index <= state.commit_index)


def _begin_round_at_once(state: State) -> bool:
    return bool(state.new_reads) and len(state.read_rounds) < reads.ROUNDS_UNDER_WAY_MAX


_confirm = reads.confirm


def _confirm_the_newest_round(state: State, progress: Any, token: int) -> None:
    _confirm(state, progress, state.read_token)


_handle_install_snapshot = following.handle_install_snapshot


def _install_over_a_log_that_matches(state: State, sender: str, chunk: Any) -> None:
    with mock.patch.object(state.log, "term_at", return_value=None):
        _handle_install_snapshot(state, sender, chunk)


_reset = RaftLog.reset


def _reset_and_keep_what_follows(log: RaftLog, index: int, term: int) -> None:
    kept = [entry for entry in log.entries(log.first_index, log.last_index) if entry.index > index]
    _reset(log, index, term)
    log.append(kept)


_log_truncate = RaftLog.truncate


def _truncate_under_a_write(log: RaftLog, first: int) -> None:
    in_flight_to = log._in_flight_to
    _log_truncate(log, first)
    log._in_flight_to = in_flight_to


_answer_applied = Requests.applied


def _answer_by_index_alone(
    requests: Requests, entries: Any, results: Any, last_applied: int, committed_s: float
) -> None:
    for entry, result in zip(entries, results, strict=True):
        requests._written_term = entry.term
        _answer_applied(requests, [entry], [result], last_applied, committed_s)


# -- what chance shows too seldom --------------------------------------------------------------------------------------


def answers_that_come_late(seed: int) -> None:
    """Answers to an old leader take two seconds. Before they come it is cut off, another one leads and commits, and a
    client reads from the old one.
    """
    world = World.cluster(3, seed=seed, check_quorum=False)
    old = world.run(until=world.leader)
    world.run_for(1.0)
    world.propose(b"", to=old.node_id)  # it is on its way
    world.network.weather = Weather(delay_s_min=2.0, delay_s_max=2.0)
    world.run_for(0.01)
    world.network.weather = CALM
    world.network.cut(isolate(old.node_id, world.node_ids), spare_the_sent=True)
    committed = world.checker.seen.commit_index
    world.run(until=lambda: world.checker.seen.commit_index > committed)
    world.client_asks(old.node_id, msgspec.msgpack.encode(Get(b"k")), is_read=True, answer=lambda reply: None)
    world.run_for(2.5)


def entries_of_the_next_leader(seed: int) -> None:
    """A leader that is cut off takes two writes. The next one commits something else at their indexes, and all that it
    has to say comes in while the old one waits for its disk: so it steps down, truncates, appends and commits at once.
    """
    world = World.cluster(3, seed=seed, check_quorum=False)
    old = world.run(until=world.leader)
    world.run_for(1.0)
    world.network.cut(isolate(old.node_id, world.node_ids))
    lost: list[Reply] = []
    for name in (b"one", b"two"):
        world.client_asks(old.node_id, msgspec.msgpack.encode(OpenSession(name)), is_read=False, answer=lost.append)
    new = world.run(until=lambda: (leader := world.leader()) is not old and leader)
    replaced: list[Reply] = []
    command = msgspec.msgpack.encode(OpenSession(b"three"))
    world.client_asks(new.node_id, command, is_read=False, answer=replaced.append)
    world.run(until=lambda: replaced)
    old.sync_s = (0.5, 0.5)
    command = msgspec.msgpack.encode(OpenSession(b"four"))
    world.client_asks(old.node_id, command, is_read=False, answer=lost.append)
    world.run_for(0.1)
    world.network.cut([])
    world.client_asks(new.node_id, command, is_read=False, answer=replaced.append)
    world.run_for(2.0)
    if any(reply.kind == "done" for reply in lost):
        raise InvariantError("a write that is in no log was acknowledged")


# -- the list ----------------------------------------------------------------------------------------------------------

BUSY: dict[str, Any] = {"clients": 6, "think_s": 0.01}
LONELY: dict[str, Any] = {"check_quorum": False, "lease_reads": False}  # a leader that is cut off goes on

BUGS = (
    Bug(
        name="commits_an_earlier_term_by_counting",
        rule=1,
        broken="an entry of an earlier term is committed by counting copies (Figure 8)",
        seeds=30,
        owner=rules,
        attribute="advance_commit_index",
        replacement=_commit_whatever_a_majority_holds,
        options={"servers": 5, "append_bytes_max": 50, "inflight_messages_max": 1, **BUSY},
        faults=("lonely_leader", "crash", "transfer"),
    ),
    Bug(
        name="replies_before_the_sync",
        rule=2,
        broken="votes and append replies leave before what they promise is synced",
        seeds=5,
        owner=State,
        attribute="promise",
        replacement=State.send,
    ),
    Bug(
        name="leader_counts_what_it_has_not_synced",
        rule=2,
        broken="the leader counts its own copy of an entry before it is synced",
        seeds=10,
        owner=rules,
        attribute="match_indexes",
        replacement=_count_what_is_not_synced,
        options={"servers": 1, "overlap": True, "sync_s": (0.001, 0.02), **BUSY},
        faults=("crash", "slow_disk"),
    ),
    Bug(
        name="truncates_without_a_conflict",
        rule=3,
        broken="a follower replaces its log from a request's first entry on, though a late request brings nothing new",
        seeds=5,
        owner=following,
        attribute="_store",
        replacement=_overwrite_from_the_first_entry,
    ),
    Bug(
        name="commits_beyond_what_was_verified",
        rule=4,
        broken="a follower commits min(leaderCommit, end of its own log), which may hold another leader's entries",
        seeds=20,
        owner=following,
        attribute="_reply_up_to",
        replacement=_commit_to_the_end_of_the_log,
        options={"snapshot_entries": 5, "trailing_entries": 0, **BUSY},
        faults=("lonely_leader", "crash", "isolate"),
    ),
    Bug(
        name="counts_votes_by_message",
        rule=5,
        broken="a vote that arrives twice counts twice",
        seeds=30,
        owner=elections,
        attribute="handle_vote_reply",
        replacement=_count_messages,
        options={"servers": 5, "pre_vote": False, "weather": Weather(duplication=0.5, delay_s_max=0.02)},
        faults=("split", "crash", "isolate"),
    ),
    Bug(
        name="pre_vote_changes_the_term",
        rule=9,
        broken="a server that is asked for a pre-vote enters the term it is asked about",
        seeds=5,
        owner=Raft,
        attribute="_meet_newer_term",
        replacement=_enter_the_term_of_a_pre_vote,
    ),
    Bug(
        name="membership_outlives_its_entry",
        rule=13,
        broken="a configuration still counts after its entry was truncated",
        seeds=30,
        owner=following,
        attribute="_truncate",
        replacement=_truncate_and_keep_the_membership,
        options=LONELY,
        faults=("add_learner", "demote", "lonely_leader", "split"),
    ),
    Bug(
        name="membership_counts_once_committed",
        rule=13,
        broken="a configuration counts from its commitment, not from when it is appended",
        seeds=10,
        owner=State,
        attribute="membership",
        replacement=property(_newest_committed_membership),
    ),
    Bug(
        name="reads_before_the_first_commit_of_the_term",
        rule=16,
        broken="a new leader answers a read before it has committed an entry of its term",
        seeds=30,
        owner=reads,
        attribute="can_begin_round",
        replacement=_begin_round_at_once,
        options={"overlap": True, "sync_s": (0.01, 0.05), **BUSY},
        faults=("transfer",),
    ),
    Bug(
        name="late_answer_confirms_a_later_read",
        rule=17,
        broken="any answer of a follower confirms the newest round of reads, whatever round it was sent for",
        seeds=3,
        owner=reads,
        attribute="confirm",
        replacement=_confirm_the_newest_round,
        story=answers_that_come_late,
    ),
    Bug(
        name="snapshot_drops_a_log_that_matches",
        rule=20,
        broken="a snapshot takes the place of the whole log, though the log matches it and goes on after it",
        seeds=10,
        owner=following,
        attribute="handle_install_snapshot",
        replacement=_install_over_a_log_that_matches,
        options={
            "servers": 3,
            "snapshot_entries": 1,
            "snapshot_s": 0.001,
            "trailing_entries": 0,
            "weather": Weather(delay_s_min=0.005, delay_s_max=0.03),
            **BUSY,
        },
        faults=("unreachable", "transfer"),
    ),
    Bug(
        name="snapshot_keeps_a_log_that_differs",
        rule=20,
        broken="entries after a snapshot are kept, though the log does not match it",
        seeds=20,
        owner=RaftLog,
        attribute="reset",
        replacement=_reset_and_keep_what_follows,
        options={"servers": 3, "snapshot_entries": 2, "trailing_entries": 0, **BUSY, **LONELY},
        faults=("isolate", "split", "lonely_leader"),
    ),
    Bug(
        name="write_vouches_for_truncated_entries",
        rule=21,
        broken="a finished write vouches for indexes whose entries were replaced while it was under way",
        seeds=10,
        owner=RaftLog,
        attribute="truncate",
        replacement=_truncate_under_a_write,
        options={"servers": 3, "overlap": True, "sync_s": (0.05, 0.3), **BUSY},
        faults=("lonely_leader", "transfer"),
    ),
    Bug(
        name="answers_by_index_alone",
        rule=22,
        broken="whatever is committed at a write's index counts as its outcome, though another leader put it there",
        seeds=3,
        owner=Requests,
        attribute="applied",
        replacement=_answer_by_index_alone,
        story=entries_of_the_next_leader,
    ),
)


# -- the table ---------------------------------------------------------------------------------------------------------

INTRODUCTION = """# Known bugs, planted and caught

Each row is a bug that implementations of Raft are known for. A test plants it and runs the simulator under
one seed after the other until an invariant (`raft_zmq/core/invariants.py`) or the history of the clients gives it
away; without the bug, the same seeds find nothing. For a rare bug the seeds' plans are steered, by settings and by the
kinds of faults, and the bugs of rules 17 and 22 have a story of their own. The rules and the functions that are
replaced are in `tests/simulation/known_bugs.py`, the test is `tests/simulation/test_known_bugs.py`.

`python -m tests.simulation.known_bugs --write` measures and writes this file. The test holds every bug to the stated
number of seeds; how many it took changes whenever a run changes.

| Rule | What is broken | Seeds it may take | Seeds it took | What caught it |
|---:|---|---:|---:|---|
"""


def _in_short(failure: str) -> str:
    return re.sub(r"\[[^]]*\]", "[…]", kind_of(failure.removeprefix(CAUGHT)))


def row(bug: Bug, catch: Catch | None) -> str:
    """The bug's line of the table."""
    took, caught = (str(catch.seed), _in_short(catch.failure)) if catch else ("-", "not caught")
    return f"| {bug.rule} | {bug.broken} | {bug.seeds} | {took} | {caught.replace('|', '/')} |"


def main(arguments: list[str]) -> int:
    """Measure all; 1 when a bug was not caught within its seeds."""
    rows = []
    for bug in BUGS:
        with bug.planted():
            catch = find(bug, bug.seeds)
        rows.append(row(bug, catch))
        print(rows[-1])
    if "--write" in arguments:
        DOCUMENT.write_text(INTRODUCTION + "\n".join(rows) + "\n")
    return 1 if any("not caught" in each for each in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
