"""Pauses that are part of a measurement, and waits for a condition."""

import threading
import time
from collections.abc import Callable

from raft_zmq.core.errors import OutcomeUnknownError

CHECK_INTERVAL_S = 0.02


def rest(seconds: float) -> None:
    """Do nothing for so long: the time is what is measured, or what a measurement needs in front of it."""
    threading.Event().wait(seconds)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Return once the condition holds; raises OutcomeUnknownError when it does not within that time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise OutcomeUnknownError(f"expected {what} within {timeout_s:g} s, and it did not come")
        rest(CHECK_INTERVAL_S)
