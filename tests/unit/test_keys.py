"""Key files: what `generate` writes is what `load` accepts, and each thing wrong is named."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
import zmq

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport import keys
from raft_zmq.transport.keys import ClientUser, Role

CLIENTS = {"root": Role.ADMIN, "app": Role.READ_WRITE, "viewer": Role.READ_ONLY}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.generate(tmp_path / "keys", ["raft-0", "raft-1"], CLIENTS)
    return tmp_path / "keys"


def test_a_generated_set_is_complete(folder: Path) -> None:
    owners = ["service", "peer.raft-0", "peer.raft-1", "client.root", "client.app", "client.viewer"]
    expected = {f"{owner}.{half}" for owner in owners for half in ("secret", "public")} | {"clients.yaml"}
    assert {path.name for path in folder.iterdir()} == expected


def test_secrets_are_for_their_owner_alone(folder: Path) -> None:
    for path in folder.iterdir():
        expected = 0o600 if path.suffix == ".secret" else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == expected, path.name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_node_loads_its_keys(folder: Path) -> None:
    node = keys.load_node_keys(folder, "raft-1")
    assert set(node.peers) == {"raft-0", "raft-1"}
    assert node.peers["raft-1"] == node.own.public
    assert node.peer_owners == {key.decode(): name for name, key in node.peers.items()}
    assert set(node.client_owners.values()) == {ClientUser(name, role) for name, role in CLIENTS.items()}
    assert zmq.curve_public(node.own.secret) == node.own.public
    assert node.service == keys.load_node_keys(folder, "raft-0").service


def test_a_client_loads_its_keys_from_the_folder_or_from_its_settings(folder: Path) -> None:
    loaded = keys.load_client_keys(folder, "app")
    given = keys.client_keys(
        loaded.server_public.decode(), f"{loaded.own.public.decode()}", f"{loaded.own.secret.decode()}"
    )
    assert given == loaded
    assert loaded.server_public == keys.load_node_keys(folder, "raft-0").service.public
    owner = keys.load_node_keys(folder, "raft-0").client_owners[loaded.own.public.decode()]
    assert owner == ClientUser("app", Role.READ_WRITE)


def test_secrets_do_not_show_when_printed(folder: Path) -> None:
    node, client = keys.load_node_keys(folder, "raft-0"), keys.load_client_keys(folder, "app")
    for text in (repr(node), repr(client)):
        assert "hidden" in text
        for secret in (node.own.secret, node.service.secret, client.own.secret):
            assert secret.decode() not in text


def test_keys_are_not_overwritten_unless_asked(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SettingsError, match=r"expected none of the new files, found clients\.yaml, service\.secret, "):
        keys.generate(folder, ["raft-0", "raft-9"], {})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    keys.generate(folder, ["raft-0"], {}, overwrite=True)
    assert (folder / "service.secret").read_bytes() != before["service.secret"]
    assert stat.S_IMODE((folder / "service.secret").stat().st_mode) == 0o600
    assert keys.load_node_keys(folder, "raft-0").client_owners == {}


@pytest.mark.parametrize("name", ["", "../n1", "a/b", ".hidden", "n 1", "ä", "x" * 300])
def test_names_that_make_no_file_name_are_refused(name: str, tmp_path: Path) -> None:
    for nodes, clients in (([name], {}), ([], {name: Role.ADMIN})):
        with pytest.raises(SettingsError, match=r"^keys: expected names of letters"):
            keys.generate(tmp_path / "keys", nodes, clients)
    assert not (tmp_path / "keys").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^keys folder .*file/keys: expected a writable folder"):
        keys.generate(tmp_path / "file" / "keys", ["n1"], {})


def cut(path: Path) -> None:
    path.write_text(path.read_text().strip()[:-1])


def spoil(path: Path) -> None:
    path.write_text("'" + path.read_text().strip()[1:])


def overflow(path: Path) -> None:
    path.write_text("#" * 40)  # each character is Z85, the number they make is beyond 32 bits


def swap(path: Path) -> None:
    path.write_bytes(zmq.curve_keypair()[1])


def blind(path: Path) -> None:
    path.write_bytes(b"\xff" * 40)


@pytest.mark.parametrize(
    ("name", "harm", "expected"),
    [
        ("service.secret", Path.unlink, "expected a key file, found none"),
        ("peer.raft-0.secret", Path.unlink, "expected a key file, found none"),
        ("peer.raft-0.public", Path.unlink, "expected a key file, found none"),
        ("clients.yaml", Path.unlink, "expected a key file, found none"),
        ("service.public", cut, "expected 40 characters of Z85, found 39"),
        ("peer.raft-1.public", spoil, "expected 40 characters of Z85, found others among them"),
        ("peer.raft-1.public", overflow, "expected 40 characters of Z85, found others among them"),
        ("peer.raft-0.secret", swap, "expected the secret half of the public key beside it"),
        ("service.secret", swap, "expected the secret half of the public key beside it"),
        ("service.secret", blind, "expected a readable text file"),
    ],
)
def test_each_wrong_file_is_named(name: str, harm: Callable[[Path], object], expected: str, folder: Path) -> None:
    secrets = [path.read_text().strip() for path in folder.glob("*.secret")]
    harm(folder / name)
    with pytest.raises(SettingsError) as caught:
        keys.load_node_keys(folder, "raft-0")
    text = str(caught.value)
    assert text.startswith(f"{folder / name}: ")
    assert expected in text
    assert "\n" not in text
    assert not any(secret in text for secret in secrets)


@pytest.mark.parametrize(
    "content",
    [
        "just text",
        "[1, 2]",
        "app: {public_key: 1, role: admin}",
        "app: {role: admin}",
        "app: {public_key: KEY, role: king}",
        "app: {public_key: KEY, role: admin, extra: 1}",
        "app: {public_key: short, role: admin}",
        "app: {public_key",
    ],
)
def test_a_wrong_list_of_clients_is_named(content: str, folder: Path) -> None:
    key = zmq.curve_keypair()[0].decode()
    (folder / "clients.yaml").write_text(content.replace("KEY", f'"{key}"'))
    with pytest.raises(SettingsError, match=r"clients\.yaml: .*expected") as caught:
        keys.load_node_keys(folder, "raft-0")
    assert "\n" not in str(caught.value)


def test_one_key_for_two_owners_is_refused(folder: Path) -> None:
    (folder / "peer.raft-1.public").write_bytes((folder / "peer.raft-0.public").read_bytes())
    with pytest.raises(SettingsError, match="the same key for raft-0 and raft-1"):
        keys.load_node_keys(folder, "raft-0")


def test_one_key_for_two_clients_is_refused(folder: Path) -> None:
    records = yaml.safe_load((folder / "clients.yaml").read_text())
    records["other"] = records["app"]
    (folder / "clients.yaml").write_text(yaml.safe_dump(records))
    with pytest.raises(SettingsError, match="expected every public key once"):
        keys.load_node_keys(folder, "raft-0")


@pytest.mark.parametrize(
    ("stem", "found"), [("peer.raft-1", "the same key for raft-1 and the client app"), ("service", "the client app")]
)
def test_one_key_for_owners_of_two_kinds_is_refused(folder: Path, stem: str, found: str) -> None:
    records = yaml.safe_load((folder / "clients.yaml").read_text())
    records["app"]["public_key"] = (folder / f"{stem}.public").read_text().strip()
    (folder / "clients.yaml").write_text(yaml.safe_dump(records))
    with pytest.raises(SettingsError, match=found):
        keys.load_node_keys(folder, "raft-0")


def test_the_services_key_for_a_node_is_refused(folder: Path) -> None:
    (folder / "peer.raft-1.public").write_bytes((folder / "service.public").read_bytes())
    with pytest.raises(SettingsError, match="the same key for raft-1 and the service"):
        keys.load_node_keys(folder, "raft-0")


@pytest.mark.parametrize("setting", ["server_public_key", "client_public_key", "client_secret_key"])
def test_a_wrong_key_in_a_clients_settings_is_named(setting: str, folder: Path) -> None:
    good = keys.load_client_keys(folder, "app")
    values = {
        "server_public_key": good.server_public.decode(),
        "client_public_key": good.own.public.decode(),
        "client_secret_key": good.own.secret.decode(),
    }
    values[setting] = values[setting][:-1]
    with pytest.raises(SettingsError, match=f"^{setting}: expected 40 characters of Z85, found 39"):
        keys.client_keys(*values.values())
