"""Golden scripts: a story of the paper as commands, and below `---` what the servers did (tests/simulation/golden/).

    python -m tests.simulation.golden           says which scripts no longer give what is written
    python -m tests.simulation.golden --write   writes what they give now; read the diff before you commit it

Commands, one a line; `#` begins prose:

    cluster n1 n2 n3 timeouts_s=1.0,2.0,3.0 pre_vote=no   start; each server's election timeout; settings of Options
    timeout n1 2.5                                        the election timeouts that n1 draws from now on
    run until_s=1.5  |  run for_s=0.5                     let time pass
    propose n1 a b                                        hand n1 two commands
    partition n1 | n2 n3   |   mend                       cut the network into groups; let everything pass again
    crash n1   |   restart n1   |   snapshot n1           kill; start; have a snapshot written
    transfer n2                                           have the leader hand over to n2
    messages on                                           show messages too, from now on
    logs                                                  print every server's log
"""

import sys
from pathlib import Path

from raft_zmq.core.messages import AppendEntries
from tests.simulation.network import Weather
from tests.simulation.options import Options
from tests.simulation.server import Server
from tests.simulation.trace import show
from tests.simulation.world import World, noop_command

FOLDER = Path(__file__).parent / "golden"
RULER = "---"
LATENCY_S = 0.01


class GoldenError(ValueError):
    """A script that cannot be run."""


class Story:
    """One script as it runs: the world, and the lines it gives."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._world: World | None = None
        self._shown: dict[str, tuple[object, ...]] = {}
        self._timeouts_s: dict[str, float] = {}
        self._messages = False
        self._said: dict[str, str] = {}  # the newest message on each link
        self._traced = 0

    def tell(self, command: str) -> None:
        """Do one command."""
        self.lines.append(f"> {command}")
        verb, *words = command.split()
        handler = getattr(self, f"_do_{verb}", None)
        if handler is None:
            raise GoldenError(f"expected one of the commands in golden.py's docstring, found {verb!r}")
        handler(*words)
        self._note_messages()

    @property
    def world(self) -> World:
        """The running world."""
        if self._world is None:
            raise GoldenError("expected `cluster` as the first command")
        return self._world

    # -- commands ------------------------------------------------------------------------------------------------------

    def _do_cluster(self, *words: str) -> None:
        names = [word for word in words if "=" not in word]
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        timeouts_s = [float(each) for each in settings.pop("timeouts_s", "1.0").split(",")]
        self._timeouts_s = {name: timeouts_s[position % len(timeouts_s)] for position, name in enumerate(names)}
        options = Options(
            servers=len(names),
            weather=Weather(delay_s_min=LATENCY_S, delay_s_max=LATENCY_S),
            clock_offset_s_max=0.0,
            election_timeout_s_min=min(timeouts_s),
            election_timeout_s_max=max(timeouts_s),
            heartbeat_interval_s=min(timeouts_s) / 5,
            **{name: _setting(value) for name, value in settings.items()},
        )
        self._world = World("golden", options)
        self._world.make_uniform = lambda node_id: lambda low, high: self._timeouts_s[node_id]
        self._world.watchers.append(self._watch)
        self._world.start()

    def _do_timeout(self, name: str, seconds: str) -> None:
        self._timeouts_s[name] = float(seconds)

    def _do_run(self, limit: str) -> None:
        kind, value = limit.split("=")
        self.world.run(until_s=float(value) + (self.world.now_s if kind == "for_s" else 0.0))

    def _do_propose(self, name: str, *commands: str) -> None:
        self.world.propose(*map(noop_command, commands), to=name)

    def _do_partition(self, *words: str) -> None:
        self.world.partition([group.split() for group in " ".join(words).split("|")])

    def _do_mend(self) -> None:
        self.world.mend()

    def _do_crash(self, name: str) -> None:
        self.world.crash(name)

    def _do_restart(self, name: str) -> None:
        self._shown.pop(name, None)
        self.world.restart(name)

    def _do_snapshot(self, name: str) -> None:
        if not self.world.servers[name].write_snapshot(0.0):
            raise GoldenError(f"{name} has nothing to put into a snapshot")

    def _do_transfer(self, target: str) -> None:
        self.world.transfer(target)

    def _do_messages(self, switch: str) -> None:
        self._messages = switch == "on"

    def _do_logs(self) -> None:
        for name, server in self.world.servers.items():
            log = server.disk.log
            entries = " ".join(f"{entry.index}/t{entry.term}" for entry in log.entries)
            before = f"snapshot to {server.disk.snapshot.index}, " if server.disk.snapshot else ""
            self.lines.append(f"{name} {'up' if server.up else 'down'} {before}log {entries or '-'}")

    # -- what is shown -------------------------------------------------------------------------------------------------

    def _watch(self, server: Server) -> None:
        """Say what is new about a server after a round."""
        self._note_messages()
        state = server.raft.state
        name = server.node_id
        ended = (state.log.last_index, state.log.last_term)
        now = (state.role.value, state.current_term, state.voted_for, ended, state.commit_index)
        role, term, vote, log_end, commit = self._shown.get(name, ("follower", 0, "", (0, 0), 0))
        self._shown[name] = now
        said = []
        if now[0] != role:
            said.append(f"{role} => {now[0]}")
        if state.voted_for and (term, vote) != now[1:3]:
            said.append(f"votes for {state.voted_for}")
        if ended != log_end:
            said.append(
                f"log ends at {ended[0]}/t{ended[1]}" + (f", was {log_end[0]}/t{log_end[1]}" if log_end[0] else "")
            )
        if state.commit_index != commit:
            said.append(f"commits {state.commit_index}")
        if said or now[1] != term:
            self.lines.append(f"{name} t{state.current_term} " + (", ".join(said) or "enters the term"))

    def _note_messages(self) -> None:
        """Bring the messages and other events of the trace since last time."""
        if self._world is None:
            return
        lines, self._traced = self._world.trace.since(self._traced), len(self._world.trace)
        for _, place, what, details in lines:
            if what == "sends" and not _is_heartbeat(details[0]):
                said = f"{place.replace('>', ' to ')}: {show(details[0])}"
                if self._messages and self._said.get(place) != said:  # answers to heartbeats repeat themselves
                    self.lines.append(said)
                self._said[place] = said
            elif what in ("wrote snapshot", "installed snapshot", "crashed", "started"):
                self.lines.append(" ".join((place, what, *map(str, details))).rstrip())


def _is_heartbeat(message: object) -> bool:
    return isinstance(message, AppendEntries) and not message.entries


def _setting(value: str) -> object:
    if value in ("yes", "no"):
        return value == "yes"
    return int(value) if value.isdigit() else float(value)


def play(script: str) -> str:
    """The script with the output it gives."""
    head = script.split(f"\n{RULER}\n", 1)[0].rstrip()
    story = Story()
    for line in head.splitlines():
        if line.strip() and not line.startswith("#"):
            story.tell(line.strip())
    return "\n".join([head, RULER, *story.lines]) + "\n"


def scripts() -> list[Path]:
    """All golden scripts, by name."""
    return sorted(FOLDER.glob("*.txt"))


def main(arguments: list[str]) -> int:
    """Compare or write; 1 when a script gives something else than it says."""
    changed = [path for path in scripts() if play(path.read_text()) != path.read_text()]
    for path in changed:
        if "--write" in arguments:
            path.write_text(play(path.read_text()))
        print(f"{'written' if '--write' in arguments else 'differs'}: {path.name}")
    return 1 if changed and "--write" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
