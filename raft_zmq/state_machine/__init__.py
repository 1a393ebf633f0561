"""What the replicated log drives: the interface to implement, the key-value store, client sessions.

`interface.StateMachine` is what a service of one's own implements; `kv.KeyValueStore` is the one the node runs;
`replica.Replica` puts client sessions and the digest in front of either; `clock.ClusterClock` ends idle sessions.
"""
