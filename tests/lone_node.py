"""A node that is a cluster by itself, for tests that run one in their own process."""

from pathlib import Path
from typing import Any

from tests.unit.transport_world import free_port


def lone_node(data_dir: Path, **more: Any) -> dict[str, Any]:
    """Its settings, on free ports of loopback and without keys."""
    client_port, peer_port, http_port = (free_port() for _ in range(3))
    return {
        "node_id": "n1",
        "members": f"n1=127.0.0.1:{peer_port}:{client_port}",
        "data_dir": str(data_dir),
        "bind_host": "127.0.0.1",
        "client_port": client_port,
        "peer_port": peer_port,
        "http_port": http_port,
        "auth": "none",
        **more,
    }
