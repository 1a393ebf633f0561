"""The HTTP port of a node, for people and probes: /livez /readyz /metrics /status."""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from raft_zmq.core.errors import SettingsError
from raft_zmq.wire.client_messages import NodeStatus

REQUESTS_MAX: Final = 32  # at once
REQUEST_TIMEOUT_S: Final = 5.0  # for a client that sends or reads too slowly
ROOM_S: Final = 0.1  # how long a new request waits for the one that has to make room
_STOP_S: Final = 1.0  # how long to wait for the thread that accepts
_TEXT: Final = "text/plain; charset=utf-8"

Request = socket.socket | tuple[bytes, socket.socket]  # as socketserver types it; here always a socket
Reply = tuple[HTTPStatus, str, bytes]  # with the content type in the middle


class HttpServer:
    """Listens at once; answers from `start` to `close`, each request in a thread of its own.

    `status` asks the node's loop and returns within about a second: None or TimeoutError means that the loop does not
    turn. `metrics` gives the page of /metrics. Both are called from any thread.
    """

    def __init__(
        self,
        bind_host: str,
        http_port: int,
        status: Callable[[], NodeStatus | None],
        metrics: Callable[[], bytes],
    ) -> None:
        """Bind the port; SettingsError names http_port if that cannot be done. Host "*" is all, port 0 any free one."""
        pages = _Pages(status, metrics)
        try:
            self._server = _Server(bind_host, http_port, pages)
        except OSError as error:
            raise SettingsError(
                f"http_port: expected to listen on {bind_host}:{http_port}, found: {error.strerror or error}. "
                "Set RAFT_HTTP_PORT to a free port, or end the process that holds this one."
            ) from error
        self.port: int = self._server.server_address[1]
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests under way are not waited for."""
        self._closing = True
        with contextlib.suppress(OSError):  # ends the thread's wait for the next request
            self._server.socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
        self._server.server_close()

    def _serve(self) -> None:
        """Not `serve_forever`, which wakes up again and again to see whether it is to end."""
        while not self._closing:
            self._server.handle_request()


class _Pages:
    """What stands at each path."""

    def __init__(self, status: Callable[[], NodeStatus | None], metrics: Callable[[], bytes]) -> None:
        self._ask_status = status
        self._ask_metrics = metrics
        self._by_path = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/status": self._show_status,
        }

    def reply(self, path: str) -> Reply:
        """The answer to GET `path`."""
        page = self._by_path.get(path.partition("?")[0])
        if page is None:
            return _text(HTTPStatus.NOT_FOUND, f"no such page; there are {' '.join(self._by_path)}")
        try:
            return page()
        except TimeoutError:
            return _not_turning()

    def _livez(self) -> Reply:
        return _not_turning() if self._ask_status() is None else _text(HTTPStatus.OK, "ok")

    def _readyz(self) -> Reply:
        status = self._ask_status()
        if status is None:
            return _not_turning()
        if status.ready:
            return _text(HTTPStatus.OK, "ok")
        return _text(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"not ready: role {status.role}, term {status.term}, leader {status.leader_id or 'unknown'}, "
            f"applied {status.last_applied} of {status.commit_index} committed entries",
        )

    def _metrics(self) -> Reply:
        return HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, self._ask_metrics()

    def _show_status(self) -> Reply:
        status = self._ask_status()
        if status is None:
            return _not_turning()
        body = msgspec.json.format(msgspec.json.encode(status), indent=2)
        return HTTPStatus.OK, "application/json", body + b"\n"


def _text(code: HTTPStatus, line: str) -> Reply:
    return code, _TEXT, line.encode() + b"\n"


def _not_turning() -> Reply:
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, "the node's loop has not answered in time")


class _Handler(BaseHTTPRequestHandler):
    """One request, then the connection ends."""

    server: "_Server"
    timeout = REQUEST_TIMEOUT_S
    server_version = "raft-zmq"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the page at the path."""
        self.server.has_come(self.connection)
        code, content_type, body = self.server.pages.reply(self.path)
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: stdout is for events, and a probe asks every few seconds."""


class _Server(ThreadingHTTPServer):
    """The standard library's server with a bound on its threads, silent about clients that go away."""

    allow_reuse_port = False  # a port in use must be an error, on every version of Python

    def __init__(self, bind_host: str, http_port: int, pages: _Pages) -> None:
        self.pages = pages
        self._free = threading.BoundedSemaphore(REQUESTS_MAX)
        self._coming: dict[Request, None] = {}  # requests that have not come in whole, the oldest first
        everywhere = bind_host == "*"
        ipv6 = socket.has_dualstack_ipv6() if everywhere else ":" in bind_host
        self.address_family = socket.AF_INET6 if ipv6 else socket.AF_INET
        super().__init__(("" if everywhere else bind_host, http_port), _Handler)

    def server_bind(self) -> None:
        """Bind, IPv6 with IPv4 as ZeroMQ does.

        Without the look-up of the own host name that the base class does here (it may take seconds).
        """
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)

    def process_request(self, request: Request, client_address: object) -> None:
        """Give the request a thread; of too many, the oldest that is still coming in has to go, else the new one."""
        if self._free.acquire(blocking=False) or (self._end_oldest_coming() and self._free.acquire(timeout=ROOM_S)):
            self._coming[request] = None
            try:
                super().process_request(request, client_address)
            except BaseException:  # there is no thread to be had, which will pass
                self.has_come(request)
                self._free.release()
                raise
        else:
            self.shutdown_request(request)

    def has_come(self, request: Request) -> None:
        """It has come in whole: it is answered, and not ended for another."""
        self._coming.pop(request, None)

    def _end_oldest_coming(self) -> bool:
        oldest = next(iter(self._coming.copy()), None)  # a copy: their threads take themselves off meanwhile
        if not isinstance(oldest, socket.socket):
            return False
        self.has_come(oldest)
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and ends
        return True

    def process_request_thread(self, request: Request, client_address: object) -> None:
        """The whole life of a request's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.has_come(request)
            self._free.release()

    def handle_error(self, request: Request, client_address: object) -> None:
        """Ignore a client that hung up; the base class reports everything else on stderr."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
