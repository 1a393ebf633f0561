"""What can become of a request besides its answer; `OutcomeUnknownError` of the core is the third kind."""

from raft_zmq.core.errors import RaftLabError

_BAD_USAGE = ("invalid", "not_allowed")


class NotDoneError(RaftLabError):
    """No leader took the request in time: it was never sent, or every node that had it declined. It left no trace."""

    exit_code = 3


class RefusedError(RaftLabError):
    """A node declined for good, and the request left no trace; `kind` is that of `client_messages.Refused`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind.replace('_', ' ')}: {message}")
        self.kind = kind
        self.exit_code = 2 if kind in _BAD_USAGE else 1


class OperationError(RaftLabError):
    """The state machine could not do the operation, and did nothing: adding to a value that is no integer, say."""
