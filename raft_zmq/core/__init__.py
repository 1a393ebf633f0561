"""Raft as a function of its inputs: no socket, no file, no thread, no clock, no dice.

The caller (node.py in a cluster, the World of a simulation) goes round in these steps:

1. `raft.step(now_s, input)` for each message, command or tick that has come in; they share one sync.
2. `ready = raft.ready()`: what there is to do, in this order.
3. Send `ready.messages`. The leader's appends may overlap its own disk write (thesis 10.2.1).
4. Write `ready.hard_state`, `ready.base_membership` and `ready.entries` (replacing the log from entries[0].index on, or
   the whole log when `ready.reset_log_to` is set) and sync once. A sync that fails ends the node.
5. Only now send `ready.messages_after_sync`: vote requests, votes and append replies are promises (Figure 2).
6. Apply `ready.committed` in order, then answer the clients that wait for those entries, and the reads of
   `ready.reads` whose index is applied.
7. `raft.advance()`: from here on the leader counts its own copy. Step a Tick no later than `raft.wake_at_s()`.
8. Write `ready.snapshot_chunks` aside. After one with `done` check, sync and rename the file, restore the state machine
   from it, and step `SnapshotInstalled` (or `SnapshotFailed`) before anything else.

Equal inputs to Raft(config, uniform=rng.uniform, …) give equal outputs, byte for byte.
"""
