"""Keys exchanged step by step: in every state of the folder, nodes and clients know each other."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport import key_rotation, keys
from raft_zmq.transport.key_rotation import Step, take
from raft_zmq.transport.key_watch import KeyFolder
from raft_zmq.transport.keys import Role

RENAME = Path.rename


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.generate(tmp_path / "keys", ["n1", "n2"], {"app": Role.READ_WRITE, "root": Role.ADMIN})
    return tmp_path / "keys"


def accepted(folder: Path, owner: str) -> list[str]:
    """Every public key that nodes let in, or answer with, as that owner's."""
    return [line.public_key for line in key_rotation.listed(folder) if line.owner == owner]


def in_use(folder: Path, owner: str) -> str:
    if owner.startswith("client."):
        return keys.load_client_keys(folder, owner.removeprefix("client.")).own.public.decode()
    node = keys.load_node_keys(folder, "n1")
    return (node.service if owner == "service" else node.own).public.decode()


@pytest.mark.parametrize("owner", ["service", "peer.n1", "client.app"])
def test_old_and_new_are_accepted_until_the_end(owner: str, folder: Path) -> None:
    old = in_use(folder, owner)
    take(Step.PREPARE, folder, owner)
    assert in_use(folder, owner) == old
    (new,) = set(accepted(folder, owner)) - {old}
    take(Step.SWITCH, folder, owner)
    assert in_use(folder, owner) == new
    assert set(accepted(folder, owner)) == {old, new}
    take(Step.FINISH, folder, owner)
    assert accepted(folder, owner) == [in_use(folder, owner)] == [new]


def test_nodes_know_both_keys_of_a_peer_that_changes(folder: Path) -> None:
    take(Step.PREPARE, folder, "peer.n1")
    node = keys.load_node_keys(folder, "n2")
    assert len(node.peer_keys["n1"]) == 2
    assert [node.peer_owners[key.decode()] for key in node.peer_keys["n1"]] == ["n1", "n1"]
    before = node.peer_keys["n1"]
    take(Step.SWITCH, folder, "peer.n1")
    assert keys.load_node_keys(folder, "n2").peer_keys["n1"] == tuple(reversed(before))


def test_a_clients_keys_have_its_role(folder: Path) -> None:
    take(Step.PREPARE, folder, "client.app")
    owners = keys.load_node_keys(folder, "n1").client_owners
    assert [owners[key].role for key in accepted(folder, "client.app")] == [Role.READ_WRITE] * 2


def test_a_client_knows_both_keys_of_the_service(folder: Path) -> None:
    first = keys.load_client_keys(folder, "app").server_public
    take(Step.PREPARE, folder, "service")
    client = keys.load_client_keys(folder, "app")
    assert (client.server_public, len(client.other_server_publics)) == (first, 1)
    take(Step.SWITCH, folder, "service")
    switched = keys.load_client_keys(folder, "app")
    assert (switched.server_public, switched.other_server_publics) == (client.other_server_publics[0], (first,))


def test_a_node_whose_secret_lies_elsewhere_may_be_behind(folder: Path, tmp_path: Path) -> None:
    """As in Kubernetes, where the folder of public keys changes under a running pod and its own secret does not."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "peer.n1.secret").write_bytes((folder / "peer.n1.secret").read_bytes())
    old = keys.load_node_keys(folder, "n1").own
    (folder / "peer.n1.secret").unlink()
    take(Step.PREPARE, folder, "peer.n1")
    take(Step.SWITCH, folder, "peer.n1")
    assert keys.load_node_keys(folder, "n1", own).own == old
    take(Step.FINISH, folder, "peer.n1")
    with pytest.raises(SettingsError, match="secret half"):
        keys.load_node_keys(folder, "n1", own)


@pytest.mark.parametrize("owner", ["service", "peer.n1", "client.app"])
def test_a_switch_cut_short_can_be_read_and_taken_again(owner: str, folder: Path, monkeypatch) -> None:
    take(Step.PREPARE, folder, owner)
    old = in_use(folder, owner)
    for cut_after in range(4):
        renames_left = iter(range(cut_after))

        def rename_or_die(path: Path, target: Path, left: Iterator[int] = renames_left) -> Path:
            if next(left, None) is None:
                raise InterruptedError
            return RENAME(path, target)

        with monkeypatch.context() as patched, contextlib.suppress(InterruptedError):
            patched.setattr(Path, "rename", rename_or_die)
            take(Step.SWITCH, folder, owner)
        assert in_use(folder, owner) in accepted(folder, owner)
        assert old in accepted(folder, owner)
        if not (folder / f"{owner}.next.public").exists():
            break
    else:
        take(Step.SWITCH, folder, owner)
    take(Step.FINISH, folder, owner)
    assert accepted(folder, owner) == [in_use(folder, owner)]
    assert old not in accepted(folder, owner)


def test_a_preparation_cut_short_can_be_taken_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """and has to be: a client that went over to a key that nodes do not know yet would be locked out"""
    old = in_use(folder, "client.app")

    def die(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched, contextlib.suppress(InterruptedError):
        patched.setattr(key_rotation, "_change_record", die)
        take(Step.PREPARE, folder, "client.app")
    assert accepted(folder, "client.app") == [old]
    with pytest.raises(SettingsError, match="Prepare one first"):
        take(Step.SWITCH, folder, "client.app")
    take(Step.PREPARE, folder, "client.app")
    assert accepted(folder, "client.app")[0] == old
    take(Step.SWITCH, folder, "client.app")
    assert set(accepted(folder, "client.app")) == {old, in_use(folder, "client.app")}
    assert in_use(folder, "client.app") != old


def test_steps_out_of_order_are_refused_and_change_nothing(folder: Path) -> None:
    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    for done, wrong in (
        ([], [Step.SWITCH, Step.FINISH]),
        ([Step.PREPARE], [Step.PREPARE, Step.FINISH]),
        ([Step.SWITCH], [Step.PREPARE, Step.SWITCH]),
    ):
        for step in done:
            take(step, folder, "peer.n1")
        before = content()
        for step in wrong:
            with pytest.raises(SettingsError, match=r"^keys rotate: expected"):
                take(step, folder, "peer.n1")
        assert content() == before


@pytest.mark.parametrize("owner", ["peer.n2", "client.app"])
def test_a_revoked_owner_has_no_key_left(owner: str, folder: Path) -> None:
    take(Step.PREPARE, folder, owner)
    known = accepted(folder, owner)
    assert key_rotation.revoke(folder, owner) == known
    node = keys.load_node_keys(folder, "n1")
    assert not {*node.peer_owners, *node.client_owners} & set(known)
    assert not [path for path in folder.iterdir() if path.name.startswith(f"{owner}.")]
    with pytest.raises(SettingsError, match=f"found '{owner}'"):
        key_rotation.revoke(folder, owner)


def test_the_key_of_the_service_cannot_be_revoked(folder: Path) -> None:
    with pytest.raises(SettingsError, match="keys rotate"):
        key_rotation.revoke(folder, "service")


def test_an_added_owner_is_let_in(folder: Path) -> None:
    key_rotation.add(folder, "client.late", Role.READ_ONLY)
    key_rotation.add(folder, "peer.n3")
    node = keys.load_node_keys(folder, "n3")
    assert node.client_owners[keys.load_client_keys(folder, "late").own.public.decode()].role is Role.READ_ONLY
    assert node.own.public == node.peers["n3"]
    for owner in ("client.late", "peer.n3"):
        with pytest.raises(SettingsError, match="expected a new owner"):
            key_rotation.add(folder, owner, Role.ADMIN if owner.startswith("client") else None)
    with pytest.raises(SettingsError, match="names of letters"):
        key_rotation.add(folder, "peer.n1.next")


def test_a_list_names_owner_role_state_and_where_the_secret_is(folder: Path) -> None:
    take(Step.PREPARE, folder, "client.app")
    (folder / "peer.n2.secret").unlink()
    found = [(line.owner, line.role, line.state, line.secret_here) for line in key_rotation.listed(folder)]
    assert found == [
        ("service", "", "current", True),
        ("peer.n1", "", "current", True),
        ("peer.n2", "", "current", False),
        ("client.app", "read-write", "current", True),
        ("client.app", "read-write", "next", True),
        ("client.root", "admin", "current", True),
    ]


@pytest.mark.parametrize("name", ["n1.next", "n1.old"])
def test_a_name_that_looks_like_a_place_in_an_exchange_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="do not end with"):
        keys.generate(tmp_path, [name], {})


# Noticing


def test_a_change_of_any_file_is_noticed_once_it_is_loaded(folder: Path) -> None:
    watched = KeyFolder(folder, "n1")
    before = watched.load()
    assert not watched.changed()
    take(Step.PREPARE, folder, "peer.n2")
    assert watched.changed()
    assert watched.load() != before
    assert not watched.changed()


def test_a_folder_swapped_as_a_whole_is_noticed(folder: Path, tmp_path: Path) -> None:
    keys.generate(tmp_path / "other", ["n1"], {})
    link = tmp_path / "mounted"
    link.symlink_to(folder)
    watched = KeyFolder(link, "n1")
    watched.load()
    aside = tmp_path / "aside"
    aside.symlink_to(tmp_path / "other")
    aside.rename(link)
    assert watched.changed()
    assert list(watched.load().peer_keys) == ["n1"]


def test_an_unreadable_folder_raises_and_is_not_read_again_until_it_changes(folder: Path) -> None:
    watched = KeyFolder(folder, "n1")
    watched.load()
    secret = (folder / "peer.n1.secret").read_bytes()
    (folder / "peer.n1.secret").write_bytes(secret[:20])
    assert watched.changed()
    with pytest.raises(SettingsError, match=r"peer\.n1\.secret"):
        watched.load()
    assert not watched.changed()
    (folder / "peer.n1.secret").write_bytes(secret)
    assert watched.changed()
    watched.load()


def test_a_folder_that_cannot_be_searched_is_an_error_of_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """and not the end of a running node, which goes on with the keys it has"""

    def exists(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(SettingsError, match=r"expected a folder of keys to read, found: .*Permission denied"):
        KeyFolder(folder, "n1").load()
