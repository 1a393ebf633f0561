"""How much may be under way: of one client, and in all, so that overload costs a bounded amount of memory."""


class Admission:
    """Counts requests, or bytes of them, from their coming in to their answer; a client is known by its name, on any
    connection.
    """

    def __init__(self, most: int, most_of_client: int) -> None:
        self._most = most
        self._most_of_client = most_of_client
        self._of_client: dict[str, int] = {}
        self.under_way = 0

    def admit(self, client: str, wanted: int) -> int:
        """How many of those that have come may go on; they count from now on."""
        return self._count(client, max(0, min(wanted, self._room(client))))

    def admit_whole(self, client: str, wanted: int) -> bool:
        """Whether all of it may go on, which then counts; else nothing of it does."""
        if wanted > self._room(client):
            return False
        self._count(client, wanted)
        return True

    def is_full(self, wanted: int = 1) -> bool:
        """Whether so much would be turned away whoever it came from."""
        return self.under_way + wanted > self._most

    def ended(self, client: str, count: int = 1) -> None:
        """So much of it has its answer."""
        self.under_way -= count
        mine = self._of_client[client] - count
        if mine:
            self._of_client[client] = mine
        else:
            del self._of_client[client]  # names come and go

    def _room(self, client: str) -> int:
        return min(self._most_of_client - self._of_client.get(client, 0), self._most - self.under_way)

    def _count(self, client: str, admitted: int) -> int:
        if admitted:
            self._of_client[client] = self._of_client.get(client, 0) + admitted
            self.under_way += admitted
        return admitted
