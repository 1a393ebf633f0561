"""The very first election: tell an empty disk from a lost one (rule 15).

A server whose disk is empty has no vote until every other first member has confirmed, by Hello, that it knows of no
earlier life of this server. Then all their incarnations are written down as the first configuration, and from there
on only these data directories count as these members. A server that lost its disk is never confirmed; the leader
makes it a learner under its new incarnation (configuration.py).
"""

import msgspec

from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Hello
from raft_zmq.core.state import State
from raft_zmq.core.stored import Stored


def with_first_members(stored: Stored, members: tuple[Member, ...]) -> Stored:
    """Until the first configuration is written down, it is the members that the settings name, bound to no disk.

    This holds where there are entries and a snapshot too: a leader that is confirmed may have sent them before.
    """
    if stored.base_membership.voters:
        return stored
    return msgspec.structs.replace(stored, base_membership=Membership(voters=members))


def is_open(state: State) -> bool:
    """Whether this server still waits to learn who the first members are."""
    return any(state.is_self(member) and not member.incarnation for member in state.membership.voters)


def tick(state: State) -> None:
    """Ask those who have not confirmed yet."""
    state.hello_due_s = state.now_s + 2 * state.config.heartbeat_interval_s
    for member in state.membership.voters:
        if not state.is_self(member) and member.node_id not in state.confirmed_by:
            _say_hello(state, member.node_id, reply=False)
    _establish_if_confirmed(state)


def handle_hello(state: State, sender: str, incarnation: str, hello: Hello) -> None:
    """Note who the sender is and whether it knows anything against this server's vote; answer if it asks."""
    state.incarnations[sender] = incarnation
    if not hello.reply:
        _say_hello(state, sender, reply=True)
    if not is_open(state):
        return
    if not hello.established or hello.recorded == state.config.incarnation:
        state.confirmed_by.add(sender)
    else:
        state.confirmed_by.discard(sender)
    _establish_if_confirmed(state)


def _say_hello(state: State, to: str, reply: bool) -> None:
    member = state.membership.member(to)
    hello = Hello(
        term=state.current_term,
        established=not is_open(state),
        recorded=member.incarnation if member is not None else "",
        reply=reply,
    )
    state.promise(to, hello)  # "established" is a word on what is on disk


def _establish_if_confirmed(state: State) -> None:
    others = {member.node_id for member in state.membership.voters if not state.is_self(member)}
    if not others <= state.confirmed_by:
        return
    known = {**state.incarnations, state.config.node_id: state.config.incarnation}
    index, base = state.memberships[0]  # not 0 where a snapshot was taken meanwhile
    voters = tuple(_bound(member, known) for member in base.voters)
    state.memberships[0] = (index, Membership(voters, base.outgoing, base.learners))
    state.outbox.base_membership = state.memberships[0][1]


def _bound(member: Member, known: dict[str, str]) -> Member:
    return msgspec.structs.replace(member, incarnation=known[member.node_id])
