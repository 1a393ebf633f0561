"""Nodes and logs as tables for people."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleOptions
from rich.table import Table

from raft_zmq.client.survey import Surveyed
from raft_zmq.wire.client_messages import LogEntry, NodeStatus

_KIND_NAMES = {0: "no-op", 1: "command", 2: "configuration"}
_COLUMNS = (
    "node",
    "role",
    "term",
    "leader",
    ">log",
    ">commit",
    ">applied",
    "digest",
    "ready",
    ">keys",
    ">wal",
    ">uptime",
    "address",
)
_DISPENSABLE = (  # where there is no room, in this order
    "address",
    "digest",
    ">wal",
    ">uptime",
    ">keys",
    "leader",
    ">log",
    "ready",
)
_ANY_WIDTH = 1_000
_ROLE_STYLES = {"leader": "bold green", "follower": "", "candidate": "yellow", "pre_candidate": "yellow"}


class NodesTable:
    """One row for each node: its role, how far it is, and what it holds; as many of the columns as the terminal shows.

    Numbers that are cut off would be wrong, so whole columns go instead, from the widest to what matters most.
    """

    def __init__(self, nodes: Iterable[Surveyed]) -> None:
        self._rows = [_cells(node) for node in nodes]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """The widest table that fits (rich's protocol for what can be printed)."""
        for left_out in range(len(_DISPENSABLE) + 1):
            table = self._table([name for name in _COLUMNS if name not in _DISPENSABLE[:left_out]])
            if console.measure(table, options=options.update(max_width=_ANY_WIDTH)).maximum <= options.max_width:
                break
        yield table

    def _table(self, names: Sequence[str]) -> Table:
        table = new_table(*names)
        for cells in self._rows:
            table.add_row(*(cells.get(name.removeprefix(">"), "") for name in names))
        return table


def _cells(node: Surveyed) -> dict[str, str]:
    status = node.status
    if status is None:
        return {"node": node.name, "role": "[red]no answer", "address": node.address}
    return {
        "node": node.name,
        "role": f"[{style}]{status.role}" if (style := _ROLE_STYLES.get(status.role)) else status.role,
        "term": str(status.term),
        "leader": status.leader_id or "-",
        "log": f"{status.first_log_index}-{status.last_log_index}",
        "commit": str(status.commit_index),
        "applied": str(status.last_applied),
        "digest": status.digest,
        "ready": "yes" if status.ready else "[yellow]no",
        "keys": str(status.keys),
        "wal": bytes_text(status.wal_bytes),
        "uptime": duration_text(status.uptime_s),
        "address": node.address,
    }


def members_table(status: NodeStatus) -> Table:
    """One row for each member, as its leader sees it."""
    table = new_table("member", "kind", "state", ">match", ">behind", "heard from", "address")
    peers = {peer.node_id: peer for peer in status.peers}
    for node_id, kind in member_kinds(status).items():
        address = status.client_addresses.get(node_id, "")
        peer = peers.get(node_id)
        if node_id == status.node_id:
            table.add_row(node_id, kind, "leader", str(status.last_log_index), "0", "itself", address)
        elif peer is None:
            table.add_row(node_id, kind, "-", "-", "-", "-", address)
        else:
            behind = str(status.last_log_index - peer.match_index)
            heard = "yes" if peer.active else "[red]no"
            table.add_row(node_id, kind, peer.state, str(peer.match_index), behind, heard, address)
    return table


def member_kinds(status: NodeStatus) -> dict[str, str]:
    """What each member is: voter, learner, or leaving (a voter of the old configuration alone, §6)."""
    kinds = dict.fromkeys(status.outgoing, "leaving") | dict.fromkeys(status.learners, "learner")
    kinds |= dict.fromkeys(status.voters, "voter")
    return {node_id: kinds[node_id] for node_id in sorted(kinds)}


def log_table(entries: Iterable[LogEntry]) -> Table:
    """One row for each entry."""
    table = new_table(">index", ">term", "kind", ">bytes", "checksum")
    for entry in entries:
        kind = _KIND_NAMES.get(entry.kind, str(entry.kind))
        table.add_row(str(entry.index), str(entry.term), kind, str(entry.data_bytes), f"{entry.checksum:016x}")
    return table


def new_table(*columns: str) -> Table:
    """A plain table; a column whose name starts with ">" is aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">").upper(), justify="right" if right else "left", no_wrap=True)
    return table


def bytes_text(count: int) -> str:
    """A size for people: "512 B", "1.5 MiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """A time for people: "42s", "3m07s", "5h12m", "2d04h"."""
    total = int(seconds)
    minutes, second = divmod(total, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    if hours:
        return f"{hours}h{minute:02}m"
    return f"{minutes}m{second:02}s" if minutes else f"{second}s"
