"""Make a Secret through the API server, from inside a pod, with the standard library alone.

The keys come into being in memory (/dev/shm: the pod's root file system is read-only) and go straight to the API
server: no value, no manifest and no process argument ever holds one.
"""

import base64
import json
import os
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from raft_zmq.core.errors import OutcomeUnknownError, RaftLabError, SettingsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MEMORY = Path("/dev/shm")  # noqa: S108  # a private folder is made in it
_TIMEOUT_S = 20.0


def make(
    name: str,
    write: Callable[[Path], list[Path]],
    service_account: Path = SERVICE_ACCOUNT,
    labels: Mapping[str, str] | None = None,
) -> bool:
    """Create the Secret from the files that `write` makes in a folder; False if there is one of that name already.

    Raises SettingsError outside a pod or without the right to do it, OutcomeUnknownError without an answer.
    """
    api = _Api(service_account)
    if api.exists(name):
        return False
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        files = write(Path(folder) / "keys")
        data = {file.name: base64.b64encode(file.read_bytes()).decode() for file in files}
    return api.create(name, data, labels or {})


class _Api:
    """The Secrets of the pod's own namespace."""

    def __init__(self, service_account: Path) -> None:
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        try:
            if not host or not port:
                raise FileNotFoundError("no KUBERNETES_SERVICE_HOST and _PORT in the environment")
            self._token = (service_account / "token").read_text().strip()
            self._namespace = (service_account / "namespace").read_text().strip()
            self._tls = ssl.create_default_context(cafile=str(service_account / "ca.crt"))
        except OSError as error:
            raise SettingsError(
                f"--kubernetes-secret: expected to run in a pod with a service-account token, found: {error}. "
                "Use --dir to write the keys to a folder."
            ) from error
        bracketed = f"[{host}]" if ":" in host else host
        self._url = f"https://{bracketed}:{port}/api/v1/namespaces/{self._namespace}/secrets"

    def exists(self, name: str) -> bool:
        return self._request("GET", f"{self._url}/{name}", None, HTTPStatus.NOT_FOUND)

    def create(self, name: str, data: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """False if another process made it in the meantime."""
        metadata = {"name": name, "labels": labels}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}
        return self._request("POST", self._url, secret, HTTPStatus.CONFLICT)

    def _request(self, method: str, url: str, body: object, no: HTTPStatus) -> bool:
        """Whether the server says yes; False for the status that means no, an error for any other."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310  # https, as built above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=self._tls):  # noqa: S310
                return True
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == no:
                return False
            if error.code in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
                raise SettingsError(
                    f"--kubernetes-secret: expected the right to get and create Secrets in {self._namespace}, found "
                    f"none ({error.code} {error.reason}). Give the pod's service account a Role with it."
                ) from error
            raise RaftLabError(
                f"--kubernetes-secret: expected the API server to do a {method}, found {error.code} {error.reason}."
            ) from error
        except OSError as error:
            raise OutcomeUnknownError(
                f"--kubernetes-secret: expected an answer of the API server within {_TIMEOUT_S:g} s, found: {error}. "
                "Check that the pod may reach it."
            ) from error
