"""Faults on demand, from a client's request to the shim in front of the peers."""

from raft_zmq.observability.events import FaultCleared, FaultInjected
from raft_zmq.transport.faults import FaultShim
from raft_zmq.wire.client_messages import InjectFault


def inject(shim: FaultShim, request: InjectFault) -> FaultInjected | FaultCleared:
    """Begin the fault, or end all with `clear`; returns what to report. Raises SettingsError on an unknown kind."""
    if request.kind == "clear":
        shim.clear()
        return FaultCleared()
    shim.apply(request.kind, request.peers, request.share, request.seconds)
    return FaultInjected(kind=request.kind, peers=request.peers, share=request.share, seconds=request.seconds)
