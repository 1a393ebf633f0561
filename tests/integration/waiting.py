"""Wait for something to become true, with a deadline."""

import threading
import time
from collections.abc import Callable

CHECK_INTERVAL_S = 0.02


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Return once the condition holds; fail saying `what` was waited for when it does not within that time."""
    deadline_s = time.monotonic() + timeout_s
    never = threading.Event()
    while not condition():
        assert time.monotonic() < deadline_s, f"expected within {timeout_s:g} s: {what}"
        never.wait(CHECK_INTERVAL_S)
