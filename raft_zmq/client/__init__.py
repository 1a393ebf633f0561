"""The client library: find the leader, keep a session, retry without doing anything twice."""
