"""ZeroMQ sockets between nodes and towards clients: CURVE, back-pressure, faults on demand."""
