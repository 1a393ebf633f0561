"""The command `verify DIR`."""

from pathlib import Path

import click
import msgspec

from client.verify import table
from client.verify.gather import gather
from client.verify.rules import judge
from client.verify.verdict import Verdict
from raft_zmq.core.errors import RaftLabError, SettingsError

VERDICT_FILE = "verdict.json"


@click.command("verify")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON instead of a table.")
def verify(folder: Path, as_json: bool) -> None:
    """Judge the gathered logs and histories of one run in DIR, and write DIR/verdict.json.

    DIR holds <node>.log of every node, client.log and history*.jsonl. Exit code 0: Raft was obeyed, and every check had
    something to show it; 1: not so; 2: DIR cannot be read or written.
    """
    try:
        verdict = judge(gather(folder))
        write_verdict(folder, verdict)
    except RaftLabError as error:
        click.echo(f"verify: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(verdict)).decode())
    else:
        table.show(verdict)
    raise SystemExit(0 if verdict.ok else 1)


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write verdict.json; raises SettingsError where that cannot be."""
    path = folder / VERDICT_FILE
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(verdict)) + b"\n")
    except OSError as error:
        raise SettingsError(
            f"{path}: expected to write the verdict there, found: {error.strerror}. "
            "Correct the permissions of DIR, or verify a copy of it."
        ) from None
