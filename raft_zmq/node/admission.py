"""How many requests may be under way: of one client, and in all, so that overload costs a bounded amount of memory."""


class Admission:
    """Counts requests from their coming in to their answer; a client is known by its name, on any connection."""

    def __init__(self, requests_max: int, client_requests_max: int) -> None:
        self._requests_max = requests_max
        self._client_requests_max = client_requests_max
        self._of_client: dict[str, int] = {}
        self.under_way = 0

    def admit(self, client: str, wanted: int) -> int:
        """How many of the requests that have come may go on; they count from now on."""
        mine = self._of_client.get(client, 0)
        admitted = max(0, min(wanted, self._client_requests_max - mine, self._requests_max - self.under_way))
        self._of_client[client] = mine + admitted
        self.under_way += admitted
        return admitted

    @property
    def is_full(self) -> bool:
        """Whether nobody else is let in, whoever it is."""
        return self.under_way >= self._requests_max

    def ended(self, client: str) -> None:
        """One of them has its answer."""
        self.under_way -= 1
        mine = self._of_client[client] - 1
        if mine:
            self._of_client[client] = mine
        else:
            del self._of_client[client]  # names come and go
