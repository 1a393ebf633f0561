"""The shell around the core: one loop that drives Raft with sockets, a disk and a clock.

`Node` (loop.py) owns the parts; requests.py stands between clients and the core, snapshots.py between the state machine
and the snapshot files, mailbox.py lets other threads ask something of the loop, status.py describes the node.
"""

from raft_zmq.node.loop import Node

__all__ = ["Node"]
