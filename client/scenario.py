"""The scenario of the lab: one client that tries out what the cluster promises, step by step.

First the key-value store, each operation checked against what it must answer; then the cluster itself (cluster_steps);
then many clients at once, whose operations the judge checks later; then the cluster again.
"""

import time
from collections import Counter

import msgspec

from client.cluster_steps import ClusterSteps
from client.history import Asked, HistoryWriter, Result
from client.recorded import Metrics, RecordedClient
from client.story import Step, Story, plural
from client.workload import Recorder, Workload, run
from raft_zmq.client.client import RaftClient, open_engine

STEP_TIMEOUT_S = 10.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a run. `tag` is in the names of its keys and in its values, so that runs do not meet."""

    service: str  # where to ask first
    tag: str
    name: str
    writes: int = 10
    burst_clients: int = 8
    burst_keys: int = 5
    burst_s: float = 2.0
    deadline_s: float = 120.0


class Scenario:
    """One run; `run()` tells it."""

    def __init__(self, client: RaftClient, plan: Plan, story: Story, history: HistoryWriter, metrics: Metrics) -> None:
        self.client = client
        self.plan = plan
        self.story = story
        self._history = history
        self._recorder = Recorder(history)
        self._metrics = metrics
        self._kv = RecordedClient(client, f"{plan.name}-{plan.tag}", self._recorder, metrics)
        self._cluster = ClusterSteps(client, story, plan.service)
        self._ends_at = time.monotonic() + plan.deadline_s

    def run(self) -> bool:
        """All steps in order; whether each of them held. Without a leader and a session the others have no sense."""
        if not self._cluster.find_leader(self._ends_at):
            return self.story.result()
        self._be_patient()
        if not self._open_session():
            return self.story.result()
        for part in (
            self._write,
            self._read_back,
            self._delete,
            self._compare_and_swap,
            self._append,
            self._increment,
            self._send_twice,
            self._scan,
            self._cluster.redirect,
            self._cluster.states,
            self._cluster.logs,
            self._cluster.digests,
            self._burst,
            self._cluster.digests,
            self._cluster.terms,
        ):
            self._be_patient()
            part()
        return self.story.result()

    def _be_patient(self) -> None:
        """No answer is waited for beyond the run's own deadline."""
        self.client.timeout_s = min(STEP_TIMEOUT_S, max(0.1, self._ends_at - time.monotonic()))

    def _key(self, name: str) -> str:
        return f"{self.plan.tag}/{name}"

    def _numbered(self) -> list[tuple[str, str]]:
        """The keys and values that are written first."""
        return [
            (self._key(f"k{number:02}"), f"{self.plan.tag}-value-{number}") for number in range(1, self.plan.writes + 1)
        ]

    def _ask(self, step: Step, asked: Asked, want: object) -> None:
        """One operation with the answer it must have."""
        got = self._kv.one(asked)
        step.say(f"{describe(asked)} → {shown(asked, got)}")
        step.check(got == want, f"{describe(asked)} answered {got!r}, expected {want!r}" if got != want else step.got)

    # Steps

    def _open_session(self) -> bool:
        with self.story.step(
            "open a session", "an id, given by the log: retries of a write are then told apart"
        ) as step:
            step.check(self._kv.session.session_id > 0, f"session {self._kv.session.session_id}")
            return True
        return False

    def _write(self) -> None:
        pairs = self._numbered()
        with self.story.step(f"write {plural(len(pairs), 'key')}", "each acknowledged by a majority") as step:
            for key, value in pairs:
                self._ask(step, Asked("put", key, value), None)
            step.check(True, f"{len(pairs)} of {len(pairs)} acknowledged")

    def _read_back(self) -> None:
        pairs = self._numbered()
        with self.story.step("read them back", "each value as written") as step:
            for key, value in pairs:
                self._ask(step, Asked("get", key), value)
            step.check(True, f"{len(pairs)} of {len(pairs)} as written")
        with self.story.step("read a key that nobody wrote", "no value") as step:
            self._ask(step, Asked("get", self._key("nobody")), None)
            step.check(True, "no value")

    def _delete(self) -> None:
        key, _ = self._numbered()[0]
        with self.story.step("delete a key", "it existed, and is gone") as step:
            self._ask(step, Asked("delete", key), True)
            self._ask(step, Asked("get", key), None)
            step.check(True, "it existed, and is gone")
        with self.story.step("delete it again", "it did not exist any more") as step:
            self._ask(step, Asked("delete", key), False)
            step.check(True, "it did not exist")

    def _compare_and_swap(self) -> None:
        key = self._key("cas")
        with self.story.step("compare-and-swap that must succeed", "set from nothing to one, from one to two") as step:
            self._ask(step, Asked("cas", key, "one", None), True)
            self._ask(step, Asked("cas", key, "two", "one"), True)
            step.check(True, "both swapped")
        with self.story.step("compare-and-swap that must fail", "refused, and the value still two") as step:
            self._ask(step, Asked("cas", key, "three", "one"), False)
            self._ask(step, Asked("cas", key, "three", None), False)
            self._ask(step, Asked("get", key), "two")
            step.check(True, "both refused, the value is two")

    def _append(self) -> None:
        key = self._key("append")
        with self.story.step("append twice", "the new length each time, and both parts in order") as step:
            self._ask(step, Asked("append", key, "left,"), 5)
            self._ask(step, Asked("append", key, "right"), 10)
            self._ask(step, Asked("get", key), "left,right")
            step.check(True, "left,right")

    def _increment(self) -> None:
        key = self._key("counter")
        with self.story.step("count", "1, then 6, then 4") as step:
            for amount, total in ((1, 1), (5, 6), (-2, 4)):
                self._ask(step, Asked("incr", key, amount), total)
            step.check(True, "1, 6, 4")

    def _send_twice(self) -> None:
        key = self._key("once")
        expected = "the same answer each time, and the counter at 1"
        with self.story.step("send an acknowledged request again", expected) as step:
            answers = self._kv.do(Asked("incr", key, 1), times=3)
            step.say(f"incr {key} by 1, sent 3 times with one and the same number → {', '.join(map(str, answers))}")
            total = self._kv.one(Asked("get", key))
            step.say(f"get {key} → {total}")
            step.check(answers == [1, 1, 1] and total == "1", f"answers {answers}, counter at {total}")
        with self.story.step("send a new request of the same kind", "applied: the counter at 2") as step:
            self._ask(step, Asked("incr", key, 1), 2)
            step.check(True, "the counter at 2")

    def _scan(self) -> None:
        pairs = self._numbered()[1:]  # the first one has been deleted
        with self.story.step("list the keys written", f"the {len(pairs)} that are left, in order") as step:
            prefix = self._key("k").encode()
            found = [(key.decode(), value.decode()) for key, value in self.client.scan(prefix)]
            step.say(f"scan {prefix.decode()} → {plural(len(found), 'pair')}")
            step.check(found == pairs, f"{len(found)} keys" + ("" if found == pairs else f": {found}"))

    def _burst(self) -> None:
        plan = self.plan
        title = f"{plural(plan.burst_clients, 'client')} at once for {plan.burst_s:g} s"
        with self.story.step(title, "every operation answered; the judge checks the history") as step:
            workload = Workload(
                tag=f"{plan.tag}b",
                clients=plan.burst_clients,
                keys=plan.burst_keys,
                seconds=min(plan.burst_s, max(0.1, self._ends_at - time.monotonic())),
                seed=plan.tag,
                timeout_s=STEP_TIMEOUT_S,
            )
            engine = open_engine(self.client.config)
            try:
                counts = run(engine, workload, self._history)
            finally:
                engine.close()
            for (op, result), count in sorted(counts.items()):
                self._metrics.operations.labels(op, result).inc(count)
            answered = sum(count for (_, result), count in counts.items() if result == "ok")
            step.say(", ".join(f"{op} {count}" for op, count in sorted(by_operation(counts).items())))
            step.check(answered == sum(counts.values()) > 0, f"{answered} of {sum(counts.values())} answered")


def describe(asked: Asked) -> str:
    """The operation as a person would type it."""
    if asked.op == "cas":
        return f"cas {asked.key} from {asked.expected or 'nothing'} to {asked.value}"
    if asked.op == "incr":
        return f"incr {asked.key} by {asked.value}"
    return f"{asked.op} {asked.key}" + ("" if asked.value is None else f" {asked.value}")


def shown(asked: Asked, output: object) -> str:
    """The answer as a person reads it."""
    if asked.op == "put":
        return "acknowledged"
    if asked.op == "delete":
        return "it existed" if output else "it did not exist"
    if asked.op == "cas":
        return "swapped" if output else "refused"
    return "no value" if output is None else str(output)


def by_operation(counts: Counter[tuple[str, Result]]) -> dict[str, int]:
    """How many of each operation, whatever came of them."""
    totals: Counter[str] = Counter()
    for (op, _), count in counts.items():
        totals[op] += count
    return dict(totals)
