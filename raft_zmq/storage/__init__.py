"""What a node keeps on disk: its identity, the write-ahead log and the snapshots. The door is `storage.Storage`."""
