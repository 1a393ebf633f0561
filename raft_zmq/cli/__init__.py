"""The commands `raft-node` and `raftctl`."""
