"""Ask every node of a cluster for its state, starting from whichever of them are known."""

import msgspec

from raft_zmq.client.calls import Call
from raft_zmq.client.engine import Engine
from raft_zmq.wire.client_messages import NodeStatus, Status

DEFAULT_SURVEY_S = 1.0


class Surveyed(msgspec.Struct, frozen=True):
    """What one node said; `status` is None when it did not answer, `node_id` "" when nobody told its name."""

    node_id: str
    address: str
    status: NodeStatus | None

    @property
    def name(self) -> str:
        """What to call it."""
        return self.node_id or self.address


class Survey:
    """One round of questions; a node that names others has them asked as well."""

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._names: dict[str, str] = {}  # address to node id, "" where only a service is known by it
        self._under_way = 0
        self._found: dict[str, Surveyed] = {}
        self._silent: list[str] = []

    def run(self) -> list[Surveyed]:
        """The nodes in the order of their names."""
        belief = self._engine.belief
        for endpoint in belief.endpoints:
            self._ask(endpoint.node_id, endpoint.address)
        if belief.leader is not None:
            self._ask(belief.leader.node_id, belief.leader.address)
        while self._under_way:
            self._engine.turn()
        for address in self._silent:
            node_id = self._names[address]
            if node_id and node_id not in self._found:
                self._found[node_id] = Surveyed(node_id, address, None)
            elif not node_id and not any(found.status for found in self._found.values()):
                self._found[address] = Surveyed("", address, None)
        return sorted(self._found.values(), key=lambda found: (found.node_id == "", found.name))

    def _ask(self, node_id: str, address: str) -> None:
        if not address or address in self._names:
            return
        self._names[address] = node_id
        self._under_way += 1
        self._engine.ask(Status, self._timeout_s, self._answered, address=address)

    def _answered(self, call: Call) -> None:
        self._under_way -= 1
        try:
            status = None if call.error else msgspec.msgpack.decode(call.body, type=NodeStatus)
        except msgspec.MsgspecError:
            status = None
        if status is None:
            self._silent.append(call.address)
            return
        resolve = self._engine.belief.resolve
        known = {**status.client_addresses, status.leader_id: status.leader_address}
        known.pop("", None)
        address = resolve(status.node_id, known.get(status.node_id, call.address))
        self._found[status.node_id] = Surveyed(status.node_id, address, status)
        for node_id, place in known.items():
            self._ask(node_id, resolve(node_id, place))
