"""Faults on demand, from a client's request: the shim in front of the peers, and a disk that takes its time."""

import random
import time

from raft_zmq.observability.events import FaultCleared, FaultInjected
from raft_zmq.transport.faults import FaultShim
from raft_zmq.wire.client_messages import InjectFault


class Faults:
    """What has been made to go wrong on one node."""

    def __init__(self, shim: FaultShim) -> None:
        self._shim = shim
        self._slow_share = 0.0  # of the syncs
        self._slow_s = 0.0

    def inject(self, request: InjectFault) -> FaultInjected | FaultCleared:
        """Begin the fault, or end all with `clear`; returns what to report. Raises SettingsError on an unknown kind."""
        if request.kind == "clear":
            self._slow_share = 0.0
            self._shim.clear()
            return FaultCleared()
        if request.kind == "slow_disk":
            self._slow_share, self._slow_s = request.share, request.seconds
        else:
            self._shim.apply(request.kind, request.peers, request.share, request.seconds)
        return FaultInjected(kind=request.kind, peers=request.peers, share=request.share, seconds=request.seconds)

    def prolong_sync(self) -> None:
        """Called with each sync: makes it take longer, as a slow disk would, which holds up what waits for it."""
        if self._slow_share and random.random() < self._slow_share:
            time.sleep(self._slow_s)
