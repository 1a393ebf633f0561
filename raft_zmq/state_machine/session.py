"""What is remembered of one client session (thesis 6.3), in memory and in snapshots."""

import msgspec


class Session(msgspec.Struct, array_like=True):
    """What is remembered of one client; `outcomes` holds encoded outcomes by number, all above `acknowledged`."""

    session_id: int
    nonce: bytes
    last_used_ms: int  # cluster time
    acknowledged: int = 0
    outcomes: dict[int, bytes] = {}

    def acknowledge(self, acknowledged: int) -> None:
        """Forget the outcomes up to this number: the client has them."""
        newly = acknowledged - self.acknowledged
        if newly <= 0:
            return
        self.acknowledged = acknowledged
        if newly <= len(self.outcomes):
            for number in range(acknowledged - newly + 1, acknowledged + 1):
                self.outcomes.pop(number, None)
        else:  # a jump far ahead, which is anyone's to send, costs no more than what is there
            self.outcomes = {number: kept for number, kept in self.outcomes.items() if number > acknowledged}

    def copy(self) -> "Session":
        """Another one that says the same, to be changed by itself."""
        return Session(self.session_id, self.nonce, self.last_used_ms, self.acknowledged, self.outcomes.copy())
