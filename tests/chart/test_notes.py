"""NOTES.txt: what to type next, and what to beware of."""

import pytest


def commands(notes: str) -> list[str]:
    return [line.strip() for line in notes.splitlines() if line.startswith("  ")]


def test_the_notes_give_the_next_three_commands(notes):
    assert commands(notes({})) == [
        "kubectl rollout status statefulset/raft -n lab",
        "kubectl logs --follow client -n lab",
        "helm test raft --logs -n lab",
    ]


def test_without_the_client_the_notes_point_to_a_nodes_log(notes):
    assert "kubectl logs --follow raft-0 -n lab" in commands(notes({"client": {"enabled": False}}))


def test_the_defaults_need_no_warning(notes):
    assert "WARNING" not in notes({})


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"replicas": 4}, "replicas is even"),
        ({"auth": {"mode": "none"}}, "auth.mode is none"),
        ({"raft": {"faultInjection": True}}, "raft.faultInjection is on"),
    ],
)
def test_the_notes_warn_of_what_is_allowed_but_unwise(notes, values, warning):
    assert f"WARNING: {warning}" in notes(values)
