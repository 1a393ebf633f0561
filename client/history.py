"""The recorded operations of a run: one JSON object a line, in the order of their ends."""

import io
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from raft_zmq.core.errors import SettingsError

OperationName = Literal["put", "get", "delete", "cas", "append", "incr"]
Result = Literal["ok", "fail", "unknown"]


class Asked(msgspec.Struct, frozen=True):
    """What a client asked: an operation on a key; `value` is a number for incr and None for get and delete."""

    op: OperationName
    key: str
    value: str | int | None = None
    expected: str | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a history; all fields are always there. Times are nanoseconds of this machine's monotonic clock."""

    client: str
    id: int
    op: OperationName
    key: str
    value: str | int | None
    expected: str | None
    call: int
    return_: int | None = msgspec.field(name="return")
    result: Result
    output: str | int | bool | None


class HistoryWriter:
    """Writes records to a file, line by line, so that a reader can follow; at the end FILE.done says it is whole,
    unless an error or Ctrl-C ended the block.

    Without a path nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._encode = msgspec.json.Encoder().encode
        self._file: io.FileIO | None = None
        if path is None:
            return
        try:
            done_file(path).unlink(missing_ok=True)
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise SettingsError(
                f"--history {path}: expected a file to write to, found: {error.strerror}. Choose another one."
            ) from error

    def __enter__(self) -> "HistoryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            if kind is None:
                done_file(self._path).touch()

    def write(self, record: Record) -> None:
        """Add one line."""
        if self._file is not None:
            self._file.write(self._encode(record) + b"\n")


def done_file(path: Path) -> Path:
    """The file whose presence says that the history beside it will not grow any more."""
    return path.with_name(path.name + ".done")


def now_ns() -> int:
    """The clock of all `call` and `return` times."""
    return time.monotonic_ns()
