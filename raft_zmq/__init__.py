"""Raft consensus over ZeroMQ: an engine, its nodes, and the tools to run them."""
