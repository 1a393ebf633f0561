"""The rows of the table, in its order. A row's method is its module's docstring."""

from types import ModuleType

from tests.performance.rows import (
    compare,
    compiled,
    curve,
    elections,
    failover,
    history,
    idle,
    large,
    nodes,
    overload,
    path,
    snapshot,
    soak,
    state,
    without_raft,
)

ROWS: dict[str, ModuleType] = {
    "compare": compare,
    "compiled": compiled,
    "failover": failover,
    "elections": elections,
    "idle": idle,
    "large": large,
    "without_raft": without_raft,
    "curve": curve,
    "nodes": nodes,
    "history": history,
    "state": state,
    "snapshot": snapshot,
    "overload": overload,
    "path": path,
    "soak": soak,
}
ONLY_WHEN_NAMED = ("soak",)
AFTER_A_REST = ("compare", "compiled")  # beside etcd a high load average spoils the 99th percentile


def method(row: ModuleType) -> tuple[str, str]:
    """The title of a row and how it is measured."""
    title, _, text = (row.__doc__ or "").strip().partition("\n")
    return title.rstrip("."), " ".join(text.split())
