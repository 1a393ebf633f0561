"""The verbs that the tests of the MIT 6.5840 labs are written in, on the simulated world.

The labs count remote calls, where a request and its answer are one; `calls` counts so, `messages` counts both ways.
Their election timeout is a second; one of ours is `ELECTION_S`. Every world is held to all invariants as it runs.
"""

from raft_zmq.core.messages import EntryKind
from tests.simulation.network import Weather, split
from tests.simulation.server import Server
from tests.simulation.world import World, noop_command

ELECTION_S = 1.0  # twice the longest election timeout: time for an election and another one
AGREE_S = 10.0  # simulated seconds in which an agreement has to come about
PATIENCE_S = 2.0  # before a command that has not been agreed on is proposed again
ANSWERS = ("AppendReply", "VoteReply", "SnapshotReply")
UNRELIABLE = Weather(loss=0.1, delay_s_max=0.027)


class Cluster:
    """Servers that can be cut off and connected again, crashed and restarted, and brought to agree."""

    def __init__(self, servers: int, seed: int = 0, **options: object) -> None:
        self.world = World.cluster(servers, seed=seed, **options)
        self.rng = self.world.rng
        self.names = list(self.world.first_members)
        self.connected = set(self.names)
        self._commands = 0

    # -- who can talk to whom ------------------------------------------------------------------------------------------

    def disconnect(self, *names: str) -> None:
        """Cut these servers off, from each other too."""
        self.connected -= set(names)
        self._cut()

    def connect(self, *names: str) -> None:
        """Let these servers talk to all that are connected; without names, all servers."""
        self.connected |= set(names or self.names)
        self._cut()

    def _cut(self) -> None:
        alone = [[name] for name in self.names if name not in self.connected]
        self.world.network.cut(split([sorted(self.connected), *alone]))

    def unreliable(self, weather: Weather = UNRELIABLE) -> None:
        """Lose a tenth of the messages and delay the others."""
        self.world.network.weather = weather

    def reliable(self) -> None:
        """Lose nothing any more."""
        self.world.network.weather = Weather()

    def crash(self, *names: str) -> None:
        """Kill these servers."""
        for name in names:
            if self.world.servers[name].up:
                self.world.crash(name)

    def restart(self, *names: str) -> None:
        """Start these servers again, connected."""
        for name in names:
            self.world.restart(name)
        self.connect(*names)

    # -- elections -----------------------------------------------------------------------------------------------------

    def leaders(self) -> list[Server]:
        """The connected servers that believe to lead the newest term any of them believes to lead."""
        leaders = [server for server in self._up() if server.raft.state.role.value == "leader"]
        newest = max((server.raft.state.current_term for server in leaders), default=0)
        return [server for server in leaders if server.raft.state.current_term == newest]

    def leader(self) -> str:
        """The one connected leader; waits for it."""
        self.world.run(until=self._one_leader_followed)
        (leader,) = self.leaders()
        return leader.node_id

    def _one_leader_followed(self) -> bool:
        leaders = self.leaders()
        if len(leaders) != 1:
            return False
        state = leaders[0].raft.state
        following = [each for each in self._up() if each.raft.state.current_term == state.current_term]
        return 2 * len(following) > len(self.names)

    def _up(self) -> list[Server]:
        return [self.world.servers[name] for name in sorted(self.connected) if self.world.servers[name].up]

    def others(self, name: str, count: int | None = None) -> list[str]:
        """The servers that follow that one in the circle of names, as many as asked for."""
        place = self.names.index(name)
        circle = self.names[place + 1 :] + self.names[:place]
        return circle if count is None else circle[:count]

    def terms(self) -> set[int]:
        """The terms that the connected servers are in."""
        return {server.raft.state.current_term for server in self._up()}

    def wait(self, seconds: float = ELECTION_S) -> None:
        """Let time pass."""
        self.world.run_for(seconds)

    # -- agreement -----------------------------------------------------------------------------------------------------

    def command(self, size_bytes: int = 0) -> bytes:
        """A command that no other equals, of that size if it is given."""
        self._commands += 1
        return noop_command(f"{self._commands}") if not size_bytes else f"{self._commands}".encode().rjust(size_bytes)

    def start(self, name: str, command: bytes | None = None) -> int:
        """Propose at that server; the index where the command stands now, 0 if it was refused."""
        command = command or self.command()
        server = self.world.servers[name]
        if not server.up:
            return 0
        self.world.propose(command, to=name)
        log = server.raft.state.log
        found = [entry.index for entry in log.entries(log.first_index, log.last_index) if entry.data == command]
        return found[-1] if found else 0

    def agreed(self, index: int, command: bytes) -> int:
        """How many servers have applied that command at that index."""
        if not self.is_committed(index, command):
            return 0
        return sum(server.replica.last_applied >= index for server in self.world.servers.values() if server.up)

    def is_committed(self, index: int, command: bytes) -> bool:
        """Whether any server has ever committed that command at that index."""
        seen = self.world.checker.seen
        if index > seen.commit_index:
            return False
        term = seen.committed[index - 1].entry_term
        return seen.entries.get((index, term), (0, 0, b""))[1:] == (int(EntryKind.COMMAND), command)

    def one(self, servers: int, command: bytes | None = None) -> int:
        """Have a command agreed on by so many servers, proposed again until it is; its index."""
        command = command or self.command()
        deadline_s = self.world.now_s + AGREE_S
        while self.world.now_s < deadline_s:
            index = next((index for leader in self.leaders() if (index := self.start(leader.node_id, command))), 0)
            if not index:
                self.wait(0.02)
                continue
            give_up_s = self.world.now_s + PATIENCE_S
            while self.world.now_s < give_up_s:
                if self.agreed(index, command) >= servers:
                    return index
                self.wait(0.005)
        raise AssertionError(f"{servers} servers did not agree on {command!r} within {AGREE_S:g} s")

    def some(self, count: int, servers: int) -> None:
        """Agree on so many commands, one after the other."""
        for _ in range(count):
            self.one(servers)

    def committed_commands(self) -> list[bytes]:
        """All committed commands, in order."""
        seen = self.world.checker.seen
        slots = [seen.entries[position, each.entry_term] for position, each in enumerate(seen.committed, 1)]
        return [data for _, kind, data in slots if kind == EntryKind.COMMAND]

    # -- budgets -------------------------------------------------------------------------------------------------------

    def messages(self) -> int:
        """Messages sent so far, both ways."""
        return sum(self.world.network.messages.values())

    def calls(self) -> int:
        """Requests sent so far, whose answers count with them."""
        return sum(count for kind, count in self.world.network.messages.items() if kind not in ANSWERS)

    def sent_bytes(self) -> int:
        """Bytes of all messages sent so far."""
        return sum(self.world.network.sent_bytes.values())
