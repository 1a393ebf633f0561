"""The family of errors: each message says what was expected, what was found and what to do."""


class RaftLabError(Exception):
    """Base of every error this project raises on purpose; `exit_code` is what a command ends with."""

    exit_code = 1


class SettingsError(RaftLabError):
    """A setting, flag, file or key that a person gave is wrong; nothing has been started or changed."""

    exit_code = 2


class PeerError(RaftLabError):
    """Bytes from outside that break the protocol: drop them, count them, go on."""


class StorageError(RaftLabError):
    """The disk failed or holds what it must not hold: the node stops (rule: never retry a failed sync)."""


class NotLeaderError(RaftLabError):
    """The node asked is not the leader; `leader_id` is who is, as far as it knows ("" if unknown)."""

    def __init__(self, leader_id: str) -> None:
        super().__init__(f"not the leader; expected the request at {leader_id or 'a leader, and none is known yet'}")
        self.leader_id = leader_id


class OutcomeUnknownError(RaftLabError):
    """No answer in time: the operation may have happened, or may still happen. Never read it as "failed"."""

    exit_code = 3


class InvariantError(RaftLabError):
    """A safety property of Raft does not hold (paper, Figure 3)."""
