"""Builds the package as it stands or, with COMPILE_RAFT_ZMQ=1, with the modules on the way of a write compiled by mypyc
(docs/decisions/0019). Everything else about the package is in pyproject.toml.
"""

import os

from setuptools import Extension, setup

# Left out are modules that declare messages (msgspec has compiled those already), that tests or users derive from, and
# that run rarely.
COMPILED = {
    "core": "bootstrap configuration elections following handover leading log progress quorum raft reads rules state",
    "node": "admission disk_care disk_watch leftovers loop network requests work writes",
    "storage": "storage wal",
    "state_machine": "key_index kv parted_dict replica sessions",
    "transport": "clients connections dealer faults peer_link peers reader roles sockets",
    "wire": "codec",
    "client": "calls engine leader links session",
}


def extensions() -> list[Extension]:
    """What to compile; mypyc needs a C compiler and the interpreter's headers."""
    if os.environ.get("COMPILE_RAFT_ZMQ") != "1":
        return []
    from mypyc.build import mypycify

    paths = [f"raft_zmq/{package}/{name}.py" for package, names in COMPILED.items() for name in names.split()]
    return mypycify(paths, opt_level="3", target_dir="build/mypyc")


setup(ext_modules=extensions())
