"""Key files one by one: their names, how they are read and checked, how they are written.

`<owner>.secret` and `<owner>.public` are the pair in use; the owner is `service`, `peer.<node id>` or `client.<name>`.
While a pair is being exchanged (key_rotation.py) `<owner>.next.*` is the one to come, and `<owner>.old.public` the one
that is still let in.
"""

import os
import re
import struct
from pathlib import Path

import msgspec
import zmq
from zmq.utils import z85

from raft_zmq.core.errors import SettingsError

Z85_KEY_CHARACTERS = 40
NEXT, OLD = ".next", ".old"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair, each half as 40 characters of Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r}, secret=<hidden>)"


def new_pair() -> KeyPair:
    """A pair that nobody has."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public, secret)


def checked_name(name: str) -> str:
    """The name, if it can be part of a file name and is not taken for a pair's place in an exchange."""
    if not _NAME.fullmatch(name) or name.endswith((NEXT, OLD)):
        raise SettingsError(
            f"keys: expected names of letters, digits, '.', '_' and '-' that do not end with {NEXT} or {OLD}, "
            f"found {name!r}. Choose another name."
        )
    return name


def read_key(path: Path) -> bytes:
    """The key in the file; raises SettingsError naming the file."""
    return checked_key(str(path), read_text(path))


def public_keys(folder: Path, owner: str) -> tuple[bytes, ...]:
    """The owner's public keys, each once: the one in use, the next one, the old one; without those not there."""
    paths = (folder / f"{owner}{place}.public" for place in ("", NEXT, OLD))
    return tuple(dict.fromkeys(read_key(path) for path in paths if path.exists()))


def read_pair(folder: Path, owner: str, secret_folder: Path | None = None) -> KeyPair:
    """The owner's pair, whose public half must be among the owner's public keys.

    It need not be the one in use: another folder may have been brought up to date later than this one.
    """
    current = read_key(folder / f"{owner}.public")
    path = (secret_folder or folder) / f"{owner}.secret"
    pair = KeyPair(current, read_key(path))
    derived = zmq.curve_public(pair.secret)
    return KeyPair(derived, pair.secret) if derived in public_keys(folder, owner) else checked_pair(str(path), pair)


def read_text(path: Path) -> str:
    """The file's text; raises SettingsError naming the file."""
    try:
        return path.read_text().strip()
    except FileNotFoundError as error:
        raise SettingsError(
            f"{path}: expected a key file, found none. Make the keys with `raftctl keys generate`."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path}: expected a readable text file, found: {error}. Mend its access or content."
        ) from error


def checked_key(what: str, text: str) -> bytes:
    """The key as bytes, if it is one; the error never quotes it, as it may be a secret."""
    if len(text) != Z85_KEY_CHARACTERS:
        raise SettingsError(
            f"{what}: expected {Z85_KEY_CHARACTERS} characters of Z85, found {len(text)}. Copy the whole key again."
        )
    key = text.encode("ascii", errors="replace")
    try:
        z85.decode(key)
    except (KeyError, ValueError, struct.error) as error:
        raise SettingsError(
            f"{what}: expected {Z85_KEY_CHARACTERS} characters of Z85, found others among them. Copy the key again."
        ) from error
    return key


def checked_pair(what: str, pair: KeyPair) -> KeyPair:
    """The pair, if its halves belong together."""
    if zmq.curve_public(pair.secret) != pair.public:
        raise SettingsError(
            f"{what}: expected the secret half of the public key beside it, found that of another pair. "
            "Put both halves of one pair together, or make new keys with `raftctl keys generate`."
        )
    return pair


def write(path: Path, content: bytes) -> Path:
    """Write aside and rename: the file never stands there half written, nor a secret open to others."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    mode = 0o600 if path.suffix == ".secret" else 0o644
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    return aside.rename(path)


def write_pair(folder: Path, owner: str, pair: KeyPair) -> None:
    """Write both halves."""
    write(folder / f"{owner}.secret", pair.secret + b"\n")
    write(folder / f"{owner}.public", pair.public + b"\n")
