"""Exchange a key without an outage, add owners, and take keys back.

An exchange has three steps, and every node has to see the folder between two of them (it looks once a second):

1. PREPARE  a next pair lies beside the one in use; everyone accepts both.
2. SWITCH   the next pair is the one in use; the old public key is still accepted.
3. FINISH   the old key is forgotten: whoever still uses it is cut off.

A crash in the middle of a step leaves a folder that nodes can read, and the step can be taken again.
"""

import enum
from pathlib import Path

import msgspec
import yaml

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport import key_files
from raft_zmq.transport.key_files import NEXT, OLD
from raft_zmq.transport.keys import CLIENTS_FILE, ClientRecord, Role, peer_names, read_clients

SERVICE = "service"
_CLIENT = "client."


class Step(enum.StrEnum):
    """See the module's text."""

    PREPARE = "prepare"
    SWITCH = "switch"
    FINISH = "finish"


class KeyLine(msgspec.Struct, frozen=True):
    """One key of a folder."""

    owner: str
    role: str  # of a client, else ""
    state: str  # current, next or old
    public_key: str
    secret_here: bool


def take(step: Step, folder: Path, owner: str) -> None:
    """Take one step for that owner; raises SettingsError when the folder is not ready for it."""
    _check_owner(folder, owner)
    {Step.PREPARE: _prepare, Step.SWITCH: _switch, Step.FINISH: _finish}[step](folder, owner)


def add(folder: Path, owner: str, role: Role | None = None) -> None:
    """Make a pair for one more node, or client in that role; raises SettingsError when it is there already."""
    key_files.checked_name(owner.partition(".")[2])
    if owner in _owners(folder):
        raise SettingsError(f"keys add: expected a new owner, found {owner} there. Choose another name, or rotate it.")
    pair = key_files.new_pair()
    key_files.write_pair(folder, owner, pair)
    if role is not None:  # last: it alone says who is let in
        _change_record(folder, owner, ClientRecord(pair.public.decode(), role))


def revoke(folder: Path, owner: str) -> list[str]:
    """Forget every key of a node or client, and return them; nodes end its sessions when they see the folder."""
    _check_owner(folder, owner)
    if owner == SERVICE:
        raise SettingsError(
            "keys revoke: expected a node or client, found service, whose key every client needs. "
            "Exchange it with `raftctl keys rotate`."
        )
    revoked = [line.public_key for line in listed(folder) if line.owner == owner]
    if owner.startswith(_CLIENT):  # first: it alone says who is let in
        _change_record(folder, owner, None)
    for place in (NEXT, OLD, ""):
        for half in ("public", "secret"):
            (folder / f"{owner}{place}.{half}").unlink(missing_ok=True)
    return revoked


def listed(folder: Path) -> list[KeyLine]:
    """Every key that the folder lets in, by owner."""
    lines = []
    for owner in (SERVICE, *(f"peer.{name}" for name in peer_names(folder))):
        for place, state in (("", "current"), (NEXT, "next"), (OLD, "old")):
            path = folder / f"{owner}{place}.public"
            if path.exists():
                secret_here = path.with_suffix(".secret").exists()
                lines.append(KeyLine(owner, "", state, key_files.read_key(path).decode(), secret_here))
    for name, record in sorted(read_clients(folder).items()):
        owner = f"{_CLIENT}{name}"
        prepared = key_files.public_keys(folder, owner + NEXT)
        for key in (record.public_key, *record.also_accepted):
            state = "current" if key == record.public_key else "next" if key.encode() in prepared else "old"
            secret_here = (folder / f"{owner}{NEXT if state == 'next' else ''}.secret").exists() and state != "old"
            lines.append(KeyLine(owner, str(record.role), state, key, secret_here))
    return lines


def _prepare(folder: Path, owner: str) -> None:
    if (folder / f"{owner}{OLD}.public").exists():
        raise SettingsError(f"keys rotate: expected no exchange under way for {owner}, found its old key. Finish it.")
    if _is_prepared(folder, owner):
        raise SettingsError(f"keys rotate: expected no next key for {owner}, found one. Switch to it.")
    next_public = folder / f"{owner}{NEXT}.public"
    if not next_public.exists():
        key_files.write_pair(folder, owner + NEXT, key_files.new_pair())
    if owner.startswith(_CLIENT):
        record = read_clients(folder)[owner.removeprefix(_CLIENT)]
        accepted = [key_files.read_key(next_public).decode()]
        _change_record(folder, owner, msgspec.structs.replace(record, also_accepted=accepted))


def _is_prepared(folder: Path, owner: str) -> bool:
    """Whether there is a next key that nodes let in: for a client's they go by its record, which is written last."""
    next_public = folder / f"{owner}{NEXT}.public"
    if not next_public.exists() or not owner.startswith(_CLIENT):
        return next_public.exists()
    record = read_clients(folder)[owner.removeprefix(_CLIENT)]
    return key_files.read_key(next_public).decode() in (record.public_key, *record.also_accepted)


def _switch(folder: Path, owner: str) -> None:
    """In this order, so that whoever reads in between finds both keys accepted and the pair in use among them."""
    if not _is_prepared(folder, owner):
        raise SettingsError(f"keys rotate: expected a next key for {owner}, found none. Prepare one first.")
    next_public = folder / f"{owner}{NEXT}.public"
    new = key_files.read_key(next_public)
    current = folder / f"{owner}.public"
    if key_files.read_key(current) != new:
        key_files.write(folder / f"{owner}{OLD}.public", current.read_bytes())
    if owner.startswith(_CLIENT):
        record = read_clients(folder)[owner.removeprefix(_CLIENT)]
        if record.public_key != new.decode():
            record = msgspec.structs.replace(record, public_key=new.decode(), also_accepted=[record.public_key])
            _change_record(folder, owner, record)
    next_secret = folder / f"{owner}{NEXT}.secret"
    if next_secret.exists():
        next_secret.rename(folder / f"{owner}.secret")
    next_public.rename(current)


def _finish(folder: Path, owner: str) -> None:
    old = folder / f"{owner}{OLD}.public"
    if (folder / f"{owner}{NEXT}.public").exists() or not old.exists():
        raise SettingsError(
            f"keys rotate: expected {owner} switched to its new key, found no old one. Prepare and switch first."
        )
    if owner.startswith(_CLIENT):
        record = read_clients(folder)[owner.removeprefix(_CLIENT)]
        _change_record(folder, owner, msgspec.structs.replace(record, also_accepted=[]))
    old.unlink()


def _change_record(folder: Path, owner: str, record: ClientRecord | None) -> None:
    records = read_clients(folder)
    name = owner.removeprefix(_CLIENT)
    if record is None:
        records.pop(name, None)
    else:
        records[name] = record
    key_files.write(folder / CLIENTS_FILE, yaml.safe_dump(msgspec.to_builtins(records)).encode())


def _owners(folder: Path) -> list[str]:
    return [SERVICE, *(f"peer.{name}" for name in peer_names(folder)), *(_CLIENT + n for n in read_clients(folder))]


def _check_owner(folder: Path, owner: str) -> None:
    known = _owners(folder)
    if owner not in known:
        raise SettingsError(f"keys: expected one of {', '.join(known)}, found {owner!r}. See `raftctl keys list`.")
