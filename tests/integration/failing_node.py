"""`python -m tests.integration.failing_node FILE …` is raft-node, and its syncs fail while FILE exists."""

import errno
import sys
from pathlib import Path

from raft_zmq.cli import node
from raft_zmq.storage.disk import Disk


def main() -> None:
    """See the module's text."""
    failing = Path(sys.argv.pop(1))
    sync = Disk.fdatasync

    def fdatasync(disk: Disk, descriptor: int) -> None:
        if failing.exists():
            raise OSError(errno.EIO, "Input/output error")
        sync(disk, descriptor)

    Disk.fdatasync = fdatasync  # type: ignore[method-assign]
    node.main()


if __name__ == "__main__":
    main()
