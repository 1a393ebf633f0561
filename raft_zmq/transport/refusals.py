"""What was not let in, told once and then as a count: whoever knocks a thousand times a second fills no log."""

import time
from collections.abc import Callable
from typing import NamedTuple

_TOLD_APART_MAX = 1000  # beyond that, who it was is left out


class Refusal(NamedTuple):
    """`times` since the last report of that port, that `who` (as far as known) and that reason."""

    port: str  # guard.PEERS or guard.CLIENTS
    who: str
    reason: str
    address: str  # of the last one that had one: who is gone at once has none
    detail: str  # of the last one
    times: int


class Refusals:
    """Calls `report` for the first refusal at once, then for what came since whenever an interval is over."""

    def __init__(
        self, report: Callable[[Refusal], None], interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._interval_s = interval_s
        self._clock = clock
        self._reported_s: dict[tuple[str, str, str], float] = {}
        self._waiting: dict[tuple[str, str, str], Refusal] = {}

    def note(self, port: str, who: str, reason: str, *, address: str = "", detail: str = "") -> None:
        """Something was refused."""
        key = (port, who, reason)
        if key not in self._reported_s:
            if len(self._reported_s) >= _TOLD_APART_MAX and who:
                self.note(port, "", reason, address=address, detail=detail)
                return
            self._reported_s[key] = self._clock()
            self._report(Refusal(port, who, reason, address, detail, 1))
            return
        before = self._waiting.get(key, Refusal(port, who, reason, "", "", 0))
        self._waiting[key] = before._replace(address=address or before.address, detail=detail, times=before.times + 1)

    def flush(self) -> None:
        """Report what has waited for an interval; call it some times a second."""
        due_s = self._clock() - self._interval_s
        for key in [key for key, reported_s in self._reported_s.items() if reported_s <= due_s]:
            waiting = self._waiting.pop(key, None)
            if waiting is None:
                del self._reported_s[key]  # it has stopped: the next one is news again
            else:
                self._reported_s[key] = self._clock()
                self._report(waiting)
