"""`raft-node check DIR` and `raft-node repair DIR`: what is wrong with a data directory, and making it usable again."""

import os
from collections.abc import Iterator
from pathlib import Path

import click

from raft_zmq.core.errors import SettingsError
from raft_zmq.storage import identity as identities
from raft_zmq.storage import repair as repairs
from raft_zmq.storage.check import Plan, Report, examine

_DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path), envvar="RAFT_DATA_DIR")


@click.command(short_help="Say what is wrong with a data directory; changes nothing.")
@_DIRECTORY
def check(directory: Path) -> None:
    """Read the data directory DIR of a node that does not run, to the last byte, and say what is wrong with it.

    Nothing is changed. Exit code 0: sound; 1: damaged; 2: no data directory, or a node runs on it.
    """
    descriptor = identities.lock_existing(directory)
    try:
        report = examine(directory)
    finally:
        os.close(descriptor)
    _show(report)
    if report.plan is None:
        click.echo("sound")
        return
    _show_plan(report, report.plan)
    click.echo(f"`raft-node repair {directory}` does so, after a backup.")
    raise click.exceptions.Exit(1)


@click.command(short_help="Back up a damaged data directory, and keep of it what is sound.")
@_DIRECTORY
@click.option("--backup", type=click.Path(path_type=Path), help="Folder to make for the backup [default: one in DIR].")
@click.option("--keep-identity", is_flag=True, help="Let the node stay the member it was, whatever it has promised.")
def repair(directory: Path, backup: Path | None, keep_identity: bool) -> None:
    """Copy all files of the data directory DIR aside, then cut it down to what is sound, as `raft-node check` says.

    If something is lost that had been synced, the node gets a new incarnation: its cluster takes it for a new server,
    brings it up to date and promotes it again. With --keep-identity it stays who it was; entries it has acknowledged
    may then be missing, and it may vote twice in a term. That is for a cluster that has nobody else.

    Exit code 0: sound now; 1: it could not be done; 2: no data directory, a node runs on it, or no decision about the
    identity.
    """
    descriptor = identities.lock_existing(directory)
    try:
        report = examine(directory)
        _show(report)
        if report.plan is None:
            click.echo("sound: nothing to repair")
            return
        _show_plan(report, report.plan)
        _check_identity(report, report.plan, keep_identity)
        click.echo(f"backup: {repairs.back_up(directory, backup)}")
        after = repairs.repair(directory, report, keep_identity=keep_identity)
    finally:
        os.close(descriptor)
    if after.plan is not None:
        _show(after)
        raise click.exceptions.Exit(1)
    click.echo("repaired")


def _check_identity(report: Report, plan: Plan, keep_identity: bool) -> None:
    """The only voter under another identity would be a cluster without voters."""
    voters = [member.node_id for member in report.membership.voters]
    alone = report.identity is not None and voters == [report.identity.node_id]
    if alone and repairs.needs_new_identity(plan) and not keep_identity:
        raise SettingsError(
            "--keep-identity: expected it, for this node is the only voter of its cluster, and nobody could take it in "
            "as a new one; found it missing. Add it to accept the loss, or restore a copy of the directory."
        )


def _show(report: Report) -> None:
    for line in _lines(report):
        click.echo(line)


def _lines(report: Report) -> Iterator[str]:
    identity, replay, snapshot = report.identity, report.replay, report.snapshot
    if identity is not None:
        yield f"identity: {identity.node_id} of cluster {identity.cluster_id}, incarnation {identity.incarnation}"
    if snapshot is not None:
        meta = snapshot.meta
        yield f"snapshot: entry {meta.index} of term {meta.term}, {snapshot.total_bytes} bytes"
    if replay.segments:
        (last_index, last_term), hard_state = replay.last, replay.hard_state
        entries = f"entries {replay.start_index + 1} to {last_index}" if replay.entries else "no entries"
        vote = f", vote for {hard_state.voted_for}" if hard_state.voted_for else ""
        yield (
            f"log: {len(replay.segments)} files, {entries}, the last of term {last_term}; "
            f"current term {hard_state.current_term}{vote}"
        )
    for note in report.notes:
        yield f"note: {note.file}, offset {note.offset}: {note.reason}; the next start cuts it and loses nothing by it"
    for damage in report.damages:
        yield f"damaged: {damage.file}, offset {damage.offset}: {damage.reason}"


def _show_plan(report: Report, plan: Plan) -> None:
    for line in _plan_lines(report, plan):
        click.echo(line)


def _plan_lines(report: Report, plan: Plan) -> Iterator[str]:
    if plan.start_over:
        yield "repair would: remove everything; the node would start with an empty disk, as a new server"
    else:
        if plan.cut is not None:
            yield f"repair would: cut {plan.cut[0].name} at offset {plan.cut[1]}"
        if plan.remove:
            yield f"repair would: remove {', '.join(path.name for path in plan.remove)}"
        yield "repair would: keep everything up to entry {} of term {}".format(*report.last)
    if plan.lost is None:
        yield "repair would lose: nothing"
        return
    last_index, _ = report.last
    kept = 0 if plan.start_over else last_index
    seen = max(plan.lost.last_index, last_index if plan.start_over else 0)
    range_ = f"entries {kept + 1} to {seen} at least" if seen > kept else "any entry that followed"
    yield f"repair would lose: {range_}, and any term and vote since then"
    known = max(plan.lost.commit_index, report.replay.hard_state.commit_index)
    if known > kept:
        yield f"                   of which the entries up to {known} at least were committed"
    if repairs.needs_new_identity(plan):
        yield "                   so the node would come back as a new server, which its cluster takes in and promotes"
