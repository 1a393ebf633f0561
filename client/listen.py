"""The client's own HTTP server: /livez, /progress (JSON) and /metrics, so that its run can be followed from outside."""

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from raft_zmq.core.errors import SettingsError


class Listener:
    """Serves from a thread of its own until it is left (it is a context manager)."""

    def __init__(self, port: int, progress: Callable[[], object], registry: CollectorRegistry) -> None:
        """Listen on every interface; raises SettingsError when the port is taken."""
        try:
            self._server = _Server(("", port), _handler(progress, registry))
        except OSError as error:
            raise SettingsError(
                f"--port: expected a free port, found {port} in use ({error.strerror}). Choose another, or 0 for any."
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Takes IPv4 and, where there is any, IPv6."""

    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Bind, without the look-up of the own host name that the base class does here (it may take seconds)."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)


def _handler(progress: Callable[[], object], registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    """The pages, as the standard library wants them: a class."""
    pages: dict[str, tuple[str, Callable[[], bytes]]] = {
        "/livez": ("text/plain", lambda: b"ok\n"),
        "/progress": ("application/json", lambda: msgspec.json.encode(progress()) + b"\n"),
        "/metrics": (CONTENT_TYPE_LATEST, lambda: generate_latest(registry)),
    }

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:
            """Answer with one of the pages."""
            kind, page = pages.get(self.path.partition("?")[0], ("", lambda: b""))
            if not kind:
                self.send_error(HTTPStatus.NOT_FOUND, explain=f"expected one of {', '.join(pages)}")
                return
            body = page()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # the name of the overridden method
            """Say nothing: standard output is the story of the run."""

    return Handler
