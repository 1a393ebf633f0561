"""The HTTP port, asked as a person or a probe asks it."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager

import msgspec
import pytest

from raft_zmq.core.errors import SettingsError
from raft_zmq.observability import http as observed_http
from raft_zmq.observability.http import HttpServer
from raft_zmq.wire.client_messages import NodeStatus
from tests.unit.node_status import STATUS


def turning_too_slowly():
    raise TimeoutError


@contextmanager
def serving(status=lambda: STATUS, metrics=lambda: b"figures\n"):
    server = HttpServer("127.0.0.1", 0, status, metrics)
    server.start()
    try:
        yield server.port
    finally:
        server.close()


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.headers["Content-Type"], response.read().decode()


def test_a_turning_loop_is_alive():
    with serving() as port:
        assert get(port, "/livez") == (200, "text/plain; charset=utf-8", "ok\n")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/status"])
@pytest.mark.parametrize("status", [lambda: None, turning_too_slowly])
def test_a_loop_that_does_not_turn_is_503(path, status):
    with serving(status) as port:
        code, _, body = get(port, path)
    assert code == 503
    assert "loop" in body


def test_ready_is_what_the_status_says():
    with serving() as port:
        assert get(port, "/readyz")[0] == 200
    lagging = msgspec.structs.replace(STATUS, ready=False, leader_id="", last_applied=3, commit_index=9)
    with serving(lambda: lagging) as port:
        code, _, body = get(port, "/readyz")
        assert get(port, "/livez")[0] == 200, "a node that waits for a leader need not be restarted"
    assert code == 503
    assert "leader unknown" in body
    assert "applied 3 of 9" in body


def test_the_status_is_json_with_all_fields():
    with serving() as port:
        code, content_type, body = get(port, "/status")
    assert (code, content_type) == (200, "application/json")
    assert json.loads(body)["node_id"] == "n1"
    assert msgspec.json.decode(body, type=NodeStatus) == STATUS


def test_metrics_come_as_they_are():
    with serving() as port:
        code, content_type, body = get(port, "/metrics?name[]=x")
    assert (code, body) == (200, "figures\n")
    assert content_type.startswith("text/plain; version=0.0.4")
    with serving(metrics=turning_too_slowly) as port:
        assert get(port, "/metrics")[0] == 503


def test_an_unknown_path_names_the_known_ones():
    with serving() as port:
        code, _, body = get(port, "/")
    assert code == 404
    assert all(path in body for path in ("/livez", "/readyz", "/metrics", "/status"))


def test_a_port_in_use_is_a_settings_error():
    with serving() as port, pytest.raises(SettingsError, match=f"http_port.*{port}.*in use.*RAFT_HTTP_PORT"):
        HttpServer("127.0.0.1", port, lambda: STATUS, lambda: b"")


def test_a_host_that_is_not_here_is_a_settings_error():
    with pytest.raises(SettingsError, match="http_port"):
        HttpServer("192.0.2.1", 0, lambda: STATUS, lambda: b"")


@pytest.mark.parametrize("host", ["*", "0.0.0.0"])
def test_all_interfaces(host):
    server = HttpServer(host, 0, lambda: STATUS, lambda: b"")
    server.start()
    assert get(server.port, "/livez")[0] == 200
    server.close()


@pytest.mark.ipv6
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_all_interfaces_are_those_of_ipv6_as_well(host):
    """as at the other ports; in a cluster without IPv4 a probe would find nobody"""
    server = HttpServer("*", 0, lambda: STATUS, lambda: b"")
    server.start()
    assert get(server.port, "/livez", host)[0] == 200
    server.close()


def test_a_closed_server_gives_its_port_back():
    with serving() as port:
        pass
    HttpServer("127.0.0.1", port, lambda: STATUS, lambda: b"").close()


def test_closing_wakes_and_ends_the_thread_that_waits_for_requests():
    server = HttpServer("127.0.0.1", 0, lambda: STATUS, lambda: b"")
    server.start()
    assert get(server.port, "/livez")[0] == 200
    server.close()
    assert not server._thread.is_alive()


def test_requests_and_vanishing_clients_leave_no_noise(capfd):
    with serving() as port:
        get(port, "/livez")
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # reset on close
                client.sendall(b"GET /status HTTP/1.1\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"\xff" * 100 + b"\r\n\r\n")
            while client.recv(4096):
                pass
        get(port, "/livez")
    assert capfd.readouterr() == ("", "")


def test_a_request_that_trickles_in_is_ended(monkeypatch):
    """Strangers that keep all requests open must not keep a probe from its answer, or the node would be restarted."""
    monkeypatch.setattr(observed_http, "REQUESTS_MAX", 2)
    with serving() as port:
        trickling = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(2)]
        for client in trickling:
            client.sendall(b"GET /livez HTTP/1.0\r\nX: ")
        for _ in range(3):
            assert get(port, "/livez")[0] == 200
        assert trickling[0].recv(100) == b"", "the oldest made room"
        for client in trickling:
            client.close()


def test_too_many_requests_at_once_are_turned_away(monkeypatch):
    monkeypatch.setattr(observed_http, "REQUESTS_MAX", 2)
    arrived, release = threading.Semaphore(0), threading.Event()

    def slow_status():
        arrived.release()
        release.wait(30)
        return STATUS

    with serving(slow_status) as port:
        waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        for client in waiting:
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert arrived.acquire(timeout=30)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as third:
            assert third.recv(100) == b""
        release.set()
        for client in waiting:
            assert client.recv(100).startswith(b"HTTP/1.0 200")
            client.close()
        assert get(port, "/livez")[0] == 200


def test_threads_that_could_not_be_started_take_no_place_for_good(monkeypatch, capfd):
    """a container may be out of processes for a moment, and has to be alive again after it"""
    with serving() as port:

        def no_more(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_more)
            for _ in range(observed_http.REQUESTS_MAX + 1):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                    connection.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
                    while connection.recv(1024):
                        pass
        assert get(port, "/livez")[0] == 200
    assert "can't start new thread" in capfd.readouterr().err
