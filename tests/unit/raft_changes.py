"""What the tests of membership changes share."""

from raft_zmq.core import inputs
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, HardState
from raft_zmq.core.stored import Stored
from tests.unit.raft_server import Server, incarnation, members

TICKET = 3


def change(server: Server, voters: tuple[Member, ...], learners: tuple[Member, ...] = ()) -> None:
    server.step(inputs.ChangeMembership(TICKET, voters, learners))


def leader(*, learners: tuple[str, ...] = (), term: int = 0, entries: tuple[Entry, ...] = ()) -> Server:
    """A leader of n1, n2, n3 whose followers and (patient) learners hold its whole log."""
    first = Membership(voters=members("n1", "n2", "n3"), learners=patient(*learners))
    server = Server(stored=Stored(hard_state=HardState(term), base_membership=first, entries=entries))
    server.become_leader()
    for follower in ("n2", "n3", *learners):
        server.acknowledge(follower)
    server.take_sent()
    return server


def patient(*node_ids: str) -> tuple[Member, ...]:
    """Learners that stay learners until someone promotes them."""
    return tuple(Member(node_id, incarnation=incarnation(node_id), auto_promote=False) for node_id in node_ids)


def reasons(server: Server) -> list[str]:
    return [refused.reason for refused in server.refused]


def names(membership: Membership) -> tuple[str, str, str]:
    """Voters, outgoing voters and learners, as "n1 n2"."""
    groups = (membership.voters, membership.outgoing, membership.learners)
    voters, outgoing, learners = (" ".join(member.node_id for member in group) for group in groups)
    return voters, outgoing, learners
