"""One seed from its plan to its verdict: chaos, healing, agreement, and a history that one copy could have given."""

import traceback
from collections import Counter

import msgspec

from client.linearizability import Operation, Outcome, check_history
from client.linearizability.check import STEPS_MAX
from raft_zmq.core.errors import InvariantError
from tests.simulation.faults import KINDS, Faults
from tests.simulation.plan import Plan, draw
from tests.simulation.world import World

AGREEMENT_S_MAX = 10.0  # simulated seconds from the end of the clients to agreement: 20 longest election timeouts
CALM_S = 2.0  # how long the leader must then stay (rule 27: whoever was removed disturbs nobody)
CLIENTS_S = 1.0  # how long clients go on after the healing


class Result(msgspec.Struct):
    """What became of a seed; `failure` is "" when all held."""

    seed: int
    failure: str
    core_steps: int
    commits: int
    operations: int
    agreed_after_s: float
    counts: Counter[str]
    coverage: Counter[tuple[str, str]]


def run_seed(seed: int) -> Result:
    """Draw and run."""
    return run_plan(draw(seed))[0]


def run_plan(plan: Plan) -> tuple[Result, World]:
    """Run to the end or to the first thing that is wrong; the world is there to be looked at."""
    world = World(plan.seed, plan.options)
    result = Result(plan.seed, "", 0, 0, 0, 0.0, world.counts, world.coverage)
    try:
        _run(plan, world, result)
    except Exception as error:  # noqa: BLE001 - whatever the core raises is a finding
        result.failure = f"{type(error).__name__}: {error}"
        if not isinstance(error, InvariantError):
            result.failure += f" at {_where(error)}"
    result.core_steps = world.core_steps
    result.commits = world.checker.seen.commit_index
    result.operations = sum(len(client.history) for client in world.clients)
    return result, world


def _where(error: Exception) -> str:
    """The innermost place in the code."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} in {frame.name}"


def _run(plan: Plan, world: World, result: Result) -> None:
    faults = Faults(world)
    faults.plan(plan.faults)
    world.start()
    world.run_for(plan.chaos_s)
    world.note("world", "heals")
    faults.end()
    healed_at_s = world.now_s
    world.run_for(CLIENTS_S)
    world.clients_stopped = True
    world.run(until=lambda: all(client.idle for client in world.clients), limit_s=AGREEMENT_S_MAX)
    world.run(until=world.agreed, limit_s=AGREEMENT_S_MAX)
    result.agreed_after_s = world.now_s - healed_at_s
    _leader_stays(world)
    _final_reads(world)
    _equal_states(world)
    check_linearizable(world)
    if not faults_happened(world.counts):
        raise InvariantError("vacuous: no fault happened in this run, so it has shown nothing")


def faults_happened(counts: Counter[str]) -> int:
    """How many faults there were, of the planned kinds and of the network's own."""
    return sum(counts[kind] for kind in (*KINDS, "message_lost", "message_duplicated", "message_delayed"))


def _leader_stays(world: World) -> None:
    leader = world.leader()
    term = leader.raft.state.current_term
    world.run_for(CALM_S)
    if not world.options.check_quorum:
        return  # without it, nothing protects a leader from a server that was removed (thesis 4.2.3)
    if world.leader() is not leader or leader.raft.state.current_term != term:
        raise InvariantError(f"{leader.node_id}, leader of term {term}, was disturbed in a healthy cluster")


def _final_reads(world: World) -> None:
    """Every key is read once more, so that a lost write cannot go unseen."""
    for key in ["c0", *(f"k{number}" for number in range(world.options.keys))]:
        client = world.clients[0]
        leader = world.run(until=world.leader, limit_s=AGREEMENT_S_MAX)
        client.read(key, leader.node_id)
        world.run(until=lambda client=client: client.idle, limit_s=AGREEMENT_S_MAX)
        if client.history[-1]["result"] != "ok":
            raise InvariantError(f"a healthy cluster did not answer a read of {key}")


def _equal_states(world: World) -> None:
    world.run(until=world.agreed, limit_s=AGREEMENT_S_MAX)
    leader = world.leader()
    expected = b"".join(leader.replica.snapshot())
    for node_id in leader.raft.state.membership.node_ids():
        replica = world.servers[node_id].replica
        if replica.digest != leader.replica.digest or b"".join(replica.snapshot()) != expected:
            raise InvariantError(f"{node_id} and {leader.node_id} applied the same entries and differ")


def check_linearizable(world: World, steps_max: int = STEPS_MAX) -> None:
    """Raise InvariantError unless every key's history is shown to be linearizable."""
    records = [record for client in world.clients for record in client.history]
    for verdict in check_history((msgspec.convert(record, Operation) for record in records), steps_max):
        if verdict.explanation is not None:
            raise InvariantError("\n".join(["the history is not linearizable", *verdict.explanation.lines()]))
        if verdict.outcome is not Outcome.LINEARIZABLE:
            raise InvariantError(f"the history of {verdict.key} is undecided after {verdict.steps} steps")
