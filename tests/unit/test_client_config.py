"""client.yaml: what is read from it, and what is said of a wrong one."""

import pytest

from raft_zmq.client.config import Endpoint, load, parse_endpoint
from raft_zmq.core.errors import SettingsError
from raft_zmq.transport.keys import Role, generate


@pytest.fixture
def write(tmp_path):
    def write_file(text: str):
        file = tmp_path / "client.yaml"
        file.write_text(text)
        return file

    return write_file


def test_endpoints_may_have_names(write):
    config = load(write("auth: none\nendpoints: [n1=127.0.0.1:7001, 'service-raft:6000']\n"))
    assert config.cluster_id == "raft"
    assert config.endpoints == (Endpoint("n1", "127.0.0.1:7001"), Endpoint("", "service-raft:6000"))
    assert config.keys is None


def test_keys_come_from_a_folder_beside_the_file(write, tmp_path):
    generate(tmp_path / "keys", ["n1"], {"lab": Role.ADMIN})
    config = load(write("endpoints: ['h:1']\nkeys_dir: keys\nclient_name: lab\n"))
    assert config.keys.own.secret.decode() == (tmp_path / "keys/client.lab.secret").read_text().strip()
    assert config.keys.server_public.decode() == (tmp_path / "keys/service.public").read_text().strip()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected `name: value` lines, found NoneType"),
        ("- 1", "found list"),
        ("a: [", "expected readable YAML"),
        ("auth: none\nendpoints: []", "length >= 1"),
        ("auth: none", "missing required field `endpoints`"),
        ("auth: both\nendpoints: ['h:1']", "'both'"),
        ("auth: none\nendpoints: ['h:1']\ncolour: red", "unknown field `colour`"),
        ("auth: none\nendpoints: ['h']", "expected id=host:port or host:port, found 'h'"),
        ("endpoints: ['h:1']", "server_public_key: expected 40 characters of Z85, found 0"),
        ("endpoints: ['h:1']\nkeys_dir: k", "client_name: expected it along with keys_dir"),
        ("endpoints: ['h:1']\nkeys_dir: k\nclient_name: lab", "expected a key file, found none"),
    ],
)
def test_wrong_file_is_named_with_what_is_wrong(write, text, said):
    file = write(text)
    with pytest.raises(SettingsError) as raised:
        load(file)
    assert str(raised.value).startswith(f"client configuration {file}: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "=host:1", "n1=:1"])
def test_no_endpoint(text):
    with pytest.raises(SettingsError):
        parse_endpoint(text)
