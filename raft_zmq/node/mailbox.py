"""How another thread has something done by the node's loop, which alone may touch the node's state."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Mailbox:
    """Calls wait here until the loop runs them; `socket` becomes readable so that the loop wakes up.

    A signal handler's wake-up byte may come in by `wake_socket` as well.
    """

    def __init__(self) -> None:
        self.socket, self.wake_socket = socket.socketpair()
        self.socket.setblocking(False)
        self.wake_socket.setblocking(False)
        self._calls: deque[Callable[[], object]] = deque()
        self._closed = threading.Event()

    def call(self, function: Callable[[], T], timeout_s: float) -> T:
        """Run `function` in the loop and return what it gives, or raise what it raises.

        Raises TimeoutError if the loop does not get to it.
        """
        if self._closed.is_set():
            raise TimeoutError("the node has stopped")
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001  (it belongs to the caller in the other thread)
                future.set_exception(error)

        self.post(run)
        return future.result(timeout_s)

    def post(self, function: Callable[[], object]) -> None:
        """Run `function` in the loop, some time soon and unless that has ended; what it raises, the loop raises."""
        self._calls.append(function)
        self.wake()

    def wake(self) -> None:
        """Make the loop turn once; a full pipe means that it is about to anyway."""
        with contextlib.suppress(BlockingIOError, OSError):
            self.wake_socket.send(b"\0")

    def run_waiting(self) -> None:
        """Called by the loop: run what has come in."""
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(4096):
                pass
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """No more calls; whoever waits gets TimeoutError in time."""
        self._closed.set()
        self.wake_socket.close()
        self.socket.close()
