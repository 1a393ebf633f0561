"""Making a Secret against an API server on loopback, over TLS."""

import base64
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from raft_zmq.cli import kubernetes_secret
from raft_zmq.cli.kubernetes_secret import make
from raft_zmq.core.errors import OutcomeUnknownError, RaftLabError, SettingsError


class _Server(ThreadingHTTPServer):
    """The handshake comes with a connection's first read, in its own thread, where it may fail in peace."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class ApiServer:
    """Answers with `status` where one is set, else like an API server that keeps `secrets`."""

    def __init__(self, folder: Path) -> None:
        self.secrets: dict[str, dict] = {}
        self.tokens: set[str] = set()
        self.status = 0
        self.appears_meanwhile = ""
        self._server = _Server(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(folder))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(api) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/api/v1/namespaces/lab/secrets/")
                self._answer(200 if name in api.secrets else 404)

            def do_POST(self) -> None:
                assert self.path == "/api/v1/namespaces/lab/secrets"
                secret = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if api.appears_meanwhile == secret["metadata"]["name"]:
                    self._answer(409)
                    return
                api.secrets[secret["metadata"]["name"]] = secret
                self._answer(201)

            def _answer(self, status: int) -> None:
                api.tokens.add(self.headers["Authorization"])
                self.send_response(api.status or status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.crt").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + pem)
    return folder / "server.pem"


@pytest.fixture
def account(tmp_path) -> Path:
    (tmp_path / "token").write_text("the-token\n")
    (tmp_path / "namespace").write_text("lab")
    return tmp_path


@pytest.fixture
def api(account, monkeypatch) -> Iterator[ApiServer]:
    server = ApiServer(account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    yield server
    server.close()


def two_files(folder: Path) -> list[Path]:
    folder.mkdir()
    for name in ("service.secret", "service.public"):
        (folder / name).write_text(f"content of {name}")
    return sorted(folder.iterdir())


def never(folder: Path) -> list[Path]:
    raise AssertionError("nothing is to be made")


def test_secret_is_made_from_the_files(api, account):
    assert make("raft-keys", two_files, account, {"app": "raft"})
    assert api.secrets["raft-keys"]["metadata"] == {"name": "raft-keys", "labels": {"app": "raft"}}
    data = api.secrets["raft-keys"]["data"]
    assert {name: base64.b64decode(value).decode() for name, value in data.items()} == {
        "service.secret": "content of service.secret",
        "service.public": "content of service.public",
    }
    assert api.tokens == {"Bearer the-token"}


def test_files_are_gone_afterwards(api, account):
    folders: list[Path] = []
    make("raft-keys", lambda folder: folders.append(folder) or two_files(folder), account)
    assert not folders[0].parent.exists()


def test_secret_that_is_there_stays(api, account):
    api.secrets["raft-keys"] = {"data": "old"}
    assert not make("raft-keys", never, account)
    assert api.secrets["raft-keys"] == {"data": "old"}


def test_secret_that_appears_meanwhile_stays(api, account):
    api.appears_meanwhile = "raft-keys"
    assert not make("raft-keys", two_files, account)


def test_missing_rights_are_named(api, account):
    api.status = 403
    with pytest.raises(SettingsError, match="expected the right to get and create Secrets in lab"):
        make("raft-keys", never, account)


def test_failing_server_is_named(api, account):
    api.status = 500
    with pytest.raises(RaftLabError, match="found 500") as raised:
        make("raft-keys", never, account)
    assert raised.value.exit_code == 1


def test_no_server(api, account, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(OutcomeUnknownError, match="expected an answer of the API server"):
        make("raft-keys", never, account)


def test_server_with_a_strange_certificate_is_not_trusted(api, account, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    _certificate(other)
    (account / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
    with pytest.raises(OutcomeUnknownError, match="certificate verify failed"):
        make("raft-keys", never, account)


def test_outside_a_pod(account, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SettingsError, match="expected to run in a pod"):
        make("raft-keys", never, account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(SettingsError, match="expected to run in a pod"):
        make("raft-keys", never, account / "nothing")


def test_keys_come_into_being_in_memory(api, account):
    assert Path("/dev/shm") == kubernetes_secret._MEMORY
    seen: list[Path] = []
    make("raft-keys", lambda folder: seen.append(folder) or two_files(folder), account)
    assert seen[0].is_relative_to("/dev/shm")
