"""Arithmetic of majorities; knows nothing of Raft but the joint configuration, where two majorities must agree (§6)."""

from collections.abc import Collection, Mapping

from raft_zmq.core.membership import Member, Membership


def majority(count: int) -> int:
    """How many of `count` voters are a majority."""
    return count // 2 + 1


def committed_index(voters: Collection[str], match_index: Mapping[str, int]) -> int:
    """The highest index that a majority of the voters holds; a voter that is not in the mapping holds nothing."""
    held = sorted((match_index.get(voter, 0) for voter in voters), reverse=True)
    return held[majority(len(held)) - 1] if held else 0


def joint_committed_index(membership: Membership, match_index: Mapping[str, int]) -> int:
    """The highest index held by a majority of the voters and, in a joint configuration, of the outgoing ones too."""
    index = committed_index(_ids(membership.voters), match_index)
    if membership.outgoing:
        index = min(index, committed_index(_ids(membership.outgoing), match_index))
    return index


def agreed(membership: Membership, yes: Collection[str]) -> bool:
    """Whether those who said yes are a majority, in a joint configuration of both halves."""
    return _has_majority(membership.voters, yes) and (
        not membership.outgoing or _has_majority(membership.outgoing, yes)
    )


def lost(membership: Membership, no: Collection[str]) -> bool:
    """Whether so many said no that `agreed` can no longer come true."""
    return _cannot_win(membership.voters, no) or (bool(membership.outgoing) and _cannot_win(membership.outgoing, no))


def _ids(members: Collection[Member]) -> list[str]:
    return [member.node_id for member in members]


def _has_majority(members: Collection[Member], yes: Collection[str]) -> bool:
    return sum(node_id in yes for node_id in _ids(members)) >= majority(len(members))


def _cannot_win(members: Collection[Member], no: Collection[str]) -> bool:
    return sum(node_id not in no for node_id in _ids(members)) < majority(len(members))
