"""Figure 7: what a follower's log may look like when a leader comes to power, and how the two become equal (§5.3)."""

import pytest

from raft_zmq.core.messages import AppendEntries
from tests.unit.raft_group import Group
from tests.unit.raft_server import log

LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FOLLOWERS = {
    "a: lacks an entry": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b: lacks many": (1, 1, 1, 4),
    "c: has one more": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d: has two more, of a newer term": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e: lacks some and has others": (1, 1, 1, 4, 4, 4, 4),
    "f: was alone in two old terms": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("terms", FOLLOWERS.values(), ids=FOLLOWERS.keys())
def test_a_leader_brings_a_followers_log_to_its_own(terms):
    """leader syncs a follower's log (§5.3, Figure 7): n3 has the leader's log and its vote, n2 one of the six"""
    group = Group("n1", "n2", "n3", logs={"n1": log(*LEADER), "n2": log(*terms), "n3": log(*LEADER)}, term=7)
    group.elect("n1")
    assert group["n1"].log_terms() == [*LEADER, 8]
    assert group["n2"].log_terms() == [*LEADER, 8]
    assert group["n2"].applied == group["n1"].applied
    to_follower = [message for _, to, message in group.delivered if to == "n2" and isinstance(message, AppendEntries)]
    carrying = [message for message in to_follower if message.entries]
    assert len(carrying) <= 1 + len(set(terms)), "the search goes back by terms, not by entries (§5.3)"
