"""Notice when the keys folder changes, so that a running node takes the keys that count now."""

import os
from pathlib import Path

from raft_zmq.transport.keys import NodeKeys, load_node_keys

_Signature = tuple[tuple[str, int, int, int], ...]


class KeyFolder:
    """The folder of a node's keys; in Kubernetes a mount that is swapped as a whole."""

    def __init__(self, folder: Path, node_id: str, own_folder: Path | None = None) -> None:
        self._folder = folder
        self._own_folder = own_folder
        self._node_id = node_id
        self._seen: _Signature = ()

    def load(self) -> NodeKeys:
        """Read the keys; raises SettingsError naming the file that is wrong."""
        self._seen = self._signature()  # taken first: a change during the reading is noticed the next time
        return load_node_keys(self._folder, self._node_id, self._own_folder)

    def changed(self) -> bool:
        """Whether any file has changed since load() was called last."""
        return self._signature() != self._seen

    def _signature(self) -> _Signature:
        """Name, inode, size and time of change of every file; () when the folder cannot be read."""
        found = []
        for folder in {self._folder, self._own_folder or self._folder}:
            try:
                with os.scandir(folder) as files:
                    for file in files:
                        stat = file.stat()
                        found.append((file.name, stat.st_ino, stat.st_size, stat.st_ctime_ns))
            except OSError:  # gone, or a file went between the two calls: the next look will see what is left
                continue
        return tuple(sorted(found))
