"""What the replicated log drives: the interface to implement, the key-value store, client sessions."""
