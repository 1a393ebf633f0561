"""Print a history as it grows, until its writer has ended: what the second container of the client pod does."""

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from threading import Event

from client.history import done_file

CHECK_INTERVAL_S = 0.2
SILENCE_S_MAX = 5.0  # after the writer has answered once
START_S_MAX = 60.0


class Writer:
    """Whether the process that writes the history is still there, by its /livez."""

    def __init__(self, port: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._url = f"http://127.0.0.1:{port}/livez"
        self._now_s = now_s
        self._heard = False
        self._last_s = now_s()

    def gone(self) -> bool:
        """True once it has been silent for too long."""
        try:
            with urllib.request.urlopen(self._url, timeout=1):  # noqa: S310  # http, as built above
                self._heard, self._last_s = True, self._now_s()
        except OSError:
            pass
        return self._now_s() - self._last_s > (SILENCE_S_MAX if self._heard else START_S_MAX)


def follow(path: Path, writer: Writer, write: Callable[[bytes], object]) -> bool:
    """Print all lines, also those to come. True if the history was completed, False if its writer went before that."""
    never = Event()
    position = 0
    while True:
        done = done_file(path).exists()  # before reading: what is there now is then all there will be
        gone = not done and writer.gone()
        position += _print_from(path, position, write)
        if done or gone:
            return done
        never.wait(CHECK_INTERVAL_S)


def _print_from(path: Path, position: int, write: Callable[[bytes], object]) -> int:
    """Print the whole lines behind that position; how many bytes they were."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return 0
    whole = data[: data.rfind(b"\n") + 1]
    if whole:
        write(whole)
    return len(whole)
