"""What a run is held to: every check with its name and where the property is stated."""

from collections.abc import Callable
from typing import NamedTuple

from client.verify.checks import clients, elections, inputs, logs, machines
from client.verify.facts import Run
from client.verify.verdict import Check, Finding, Verdict, to_check


class Rule(NamedTuple):
    """`section` is of the Raft paper (extended version) unless it says otherwise."""

    name: str
    section: str
    check: Callable[[Run], Finding]


RULES = (
    Rule("Node logs", "inputs", inputs.node_logs),
    Rule("Election Safety", "Figure 3, §5.2", elections.election_safety),
    Rule("One vote a term", "§5.2", elections.one_vote),
    Rule("Terms never go back", "§5.1", elections.terms_never_go_back),
    Rule("Leader Append-Only", "Figure 3, §5.3", logs.leader_append_only),
    Rule("Log Matching", "Figure 3, §5.3", logs.log_matching),
    Rule("Leader Completeness", "Figure 3, §5.4", logs.leader_completeness),
    Rule("State Machine Safety", "Figure 3, §5.4.3", machines.state_machine_safety),
    Rule("Committed stays", "Figure 2, §5.3", logs.committed_stays),
    Rule("No acknowledged write lost", "§5.3, §8", clients.acknowledged_writes),
    Rule("Linearizability", "§8", clients.linearizability),
    Rule("Client scenario", "inputs", clients.scenario),
)


def judge(run: Run) -> Verdict:
    """Hold the run to every rule: it is in order only when each has something to show and nothing is wrong."""
    checks = tuple(_apply(rule, run) for rule in RULES)
    return Verdict(ok=all(check.status == "pass" for check in checks), checks=checks, inputs=describe_inputs(run))


def _apply(rule: Rule, run: Run) -> Check:
    claim = (rule.check.__doc__ or "").strip().partition("\n")[0]
    return to_check(rule.name, rule.section, claim, rule.check(run))


def describe_inputs(run: Run) -> dict[str, object]:
    """What the verdict rests on, for verdict.json."""
    return {
        "nodes": [
            {
                "file": log.file,
                "node": log.node,
                "lines": log.lines,
                "lives": len(log.lives),
                "lines_that_are_no_events": len(log.strays),
                "first_line_that_is_no_event": log.strays[0] if log.strays else None,
            }
            for log in run.logs
        ],
        "histories": run.histories.files,
        "client_log_lines": len(run.client.lines) if run.client else None,
        "files_not_judged": run.unread,
    }
