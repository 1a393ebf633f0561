"""The steps of the scenario that look at the nodes: who leads, what each holds, and that they agree."""

import time

import msgspec

from client.story import StepFailedError, Story, plural
from raft_zmq.client.client import RaftClient
from raft_zmq.client.errors import NotDoneError
from raft_zmq.client.survey import Surveyed
from raft_zmq.core.errors import NotLeaderError
from raft_zmq.wire.client_messages import LogEntry, NodeStatus, Read
from raft_zmq.wire.commands import Get

ASK_TIMEOUT_S = 1.0
PAUSE_S = 0.2
COMPARED_ENTRIES_MAX = 5_000
PAGE_ENTRIES = 1_000


class ClusterSteps:
    """Steps about the nodes; remembers the first leader to compare with at the end."""

    def __init__(self, client: RaftClient, story: Story, service: str) -> None:
        self._client = client
        self._story = story
        self._service = service
        self._first: NodeStatus | None = None

    def find_leader(self, ends_at: float) -> bool:
        """Ask the service, go where it points, until a node says that it leads itself; give up at that moment."""
        with self._story.step("find the leader", "a node that says itself that it leads") as step:
            started = time.monotonic()
            address = self._service
            while time.monotonic() < ends_at:
                status = self._ask(address)
                step.say(f"asked {address} → {said(status)}")
                if status is not None and status.role == "leader":
                    self._first = status
                    step.check(True, f"{status.node_id} leads term {status.term}")
                    return True
                if status is not None and status.leader_id:
                    place = self._client.engine.belief.resolve(status.leader_id, status.leader_address)
                    if place and place != address:
                        address = place
                        continue
                address = self._service
                self._rest()
            raise StepFailedError(f"no leader within {ends_at - started:.0f} s")
        return False

    def redirect(self) -> None:
        """A follower does not answer for the leader, it names it."""
        nodes = [node for node in self._client.survey(timeout_s=ASK_TIMEOUT_S) if node.status]
        follower = next((node for node in nodes if node.status and node.status.role == "follower"), None)
        if follower is None:
            return  # a cluster of one has nobody who could redirect
        with self._story.step(
            f"ask the follower {follower.node_id} to read", "no answer, but the leader's name"
        ) as step:
            query = msgspec.msgpack.encode(Get(b"redirect"))
            try:
                self._client.ask_node(lambda request_id: Read(request_id, query), follower.address)
            except NotLeaderError as error:
                step.check(bool(error.leader_id), f"it names {error.leader_id or 'nobody'}")
            else:
                raise StepFailedError("it answered the read itself")

    def states(self) -> None:
        """Ask every node, until all have applied what the leader has committed."""
        with self._story.step(
            "ask every node for its state", "all answer, one leads, all have applied its commits"
        ) as step:
            nodes = self._until_agreed(same_applied=False)
            for node in nodes:
                step.say(f"{node.name:<10} {described(node.status)}")
            step.check(_one_leader(nodes) and _caught_up(nodes), summary(nodes))

    def logs(self) -> None:
        """Compare what the logs hold up to what is committed everywhere."""
        expected = "the same term and checksum at every index up to the commit index"
        with self._story.step("ask every node for its log and compare", expected) as step:
            nodes = [node for node in self._client.survey(timeout_s=ASK_TIMEOUT_S) if node.status]
            statuses = [node.status for node in nodes if node.status]
            last = min(status.commit_index for status in statuses)
            first = max(1, last - COMPARED_ENTRIES_MAX + 1, *(status.first_log_index for status in statuses))
            logs = {node.name: self._entries(node.address, first, last) for node in nodes}
            for name, entries in logs.items():
                step.say(f"{name:<10} {plural(len(entries), 'entry', 'entries')}, {first} to {last}")
            different = first_difference(logs, first, last)
            compared = f"{last - first + 1} entries of {plural(len(logs), 'node')}"
            step.check(not different and len(logs) > 0, different or f"{compared}, all the same")

    def digests(self) -> None:
        """Ask until all nodes stand at one applied index, and compare the running hashes there."""
        with self._story.step("compare what the nodes have applied", "one digest at one applied index") as step:
            nodes = self._until_agreed(same_applied=True)
            for node in nodes:
                at = f"applied {node.status.last_applied}, digest {node.status.digest}" if node.status else "no answer"
                step.say(f"{node.name:<10} {at}")
            found = {(node.status.last_applied, node.status.digest) for node in nodes if node.status}
            everyone = all(node.status for node in nodes)
            got = " and ".join(f"digest {digest} at {index}" for index, digest in sorted(found))
            step.check(everyone and len(found) == 1, got or "no answer")

    def terms(self) -> None:
        """Terms only grow; who leads at the end is told."""
        assert self._first is not None, "no later step runs without a leader"
        with self._story.step("ask who leads now", f"a leader of term {self._first.term} or later") as step:
            status = self._client.status()
            step.check(status.term >= self._first.term, f"{status.node_id} leads term {status.term}")

    def _until_agreed(self, *, same_applied: bool) -> list[Surveyed]:
        """Survey until the nodes stand as they should, or time is up; the last survey."""
        ends_at = time.monotonic() + self._client.timeout_s
        while True:
            nodes = self._client.survey(timeout_s=ASK_TIMEOUT_S)
            applied = {node.status.last_applied for node in nodes if node.status}
            agreed = _one_leader(nodes) and _caught_up(nodes) and (len(applied) == 1 or not same_applied)
            if agreed or time.monotonic() > ends_at:
                return nodes
            self._rest()

    def _entries(self, address: str, first: int, last: int) -> list[LogEntry]:
        entries: list[LogEntry] = []
        while first <= last:
            page = self._client.log(address, first, min(PAGE_ENTRIES, last - first + 1))
            if not page:
                break
            entries += page
            first = page[-1].index + 1
        return entries

    def _ask(self, address: str) -> NodeStatus | None:
        try:
            return self._client.status(address, timeout_s=ASK_TIMEOUT_S)
        except NotDoneError:
            return None

    def _rest(self) -> None:
        ends_at = time.monotonic() + PAUSE_S
        while (left_s := ends_at - time.monotonic()) > 0:
            self._client.engine.turn(left_s)


def said(status: NodeStatus | None) -> str:
    """What a node said when asked who leads."""
    if status is None:
        return "no answer"
    if status.role == "leader":
        return f"{status.node_id}: I lead term {status.term}"
    names = f"{status.leader_id} leads, at {status.leader_address}" if status.leader_id else "I know no leader"
    return f"{status.node_id}, {status.role} of term {status.term}: {names}"


def described(status: NodeStatus | None) -> str:
    """A node's state in a line."""
    if status is None:
        return "no answer"
    return (
        f"{status.role:<9} term {status.term}, log {status.first_log_index} to {status.last_log_index}, "
        f"committed {status.commit_index}, applied {status.last_applied}, {plural(status.keys, 'key')}"
    )


def summary(nodes: list[Surveyed]) -> str:
    """All nodes in a line."""
    statuses = [node.status for node in nodes if node.status]
    leaders = [f"{status.node_id} of term {status.term}" for status in statuses if status.role == "leader"]
    applied = ", ".join(str(status.last_applied) for status in statuses)
    led = f"led by {' and '.join(leaders)}" if leaders else "no leader"
    return f"{len(statuses)} of {len(nodes)} answer, {led}, applied {applied or 'nothing'}"


def first_difference(logs: dict[str, list[LogEntry]], first: int, last: int) -> str:
    """Where logs that should be equal from `first` to `last` are not; "" if they are."""
    by_index = {name: {entry.index: entry for entry in entries} for name, entries in logs.items()}
    for index in range(first, last + 1):
        found: dict[str, list[str]] = {}
        for name, entries in by_index.items():
            entry = entries.get(index)
            what = f"term {entry.term} checksum {entry.checksum:016x}" if entry else "no entry"
            found.setdefault(what, []).append(name)
        if len(found) > 1:
            told = "; ".join(f"{what} on {', '.join(names)}" for what, names in found.items())
            return f"entry {index} differs: {told}"
    return ""


def _one_leader(nodes: list[Surveyed]) -> bool:
    """All answer, one of them leads, and all others follow it in its term."""
    statuses = [node.status for node in nodes if node.status]
    leaders = [status for status in statuses if status.role == "leader"]
    return (
        len(statuses) == len(nodes) > 0
        and len(leaders) == 1
        and {(status.leader_id, status.term) for status in statuses} == {(leaders[0].node_id, leaders[0].term)}
    )


def _caught_up(nodes: list[Surveyed]) -> bool:
    """Everyone has applied what the leader says is committed."""
    statuses = [node.status for node in nodes if node.status]
    committed = max((status.commit_index for status in statuses if status.role == "leader"), default=0)
    return all(status.last_applied >= committed for status in statuses)
