"""The command `report DIR`."""

from pathlib import Path

import click

from client.report.page import render
from client.verify.gather import gather
from client.verify.rules import judge
from raft_zmq.core.errors import RaftLabError, SettingsError

REPORT_FILE = "report.html"


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
def report(folder: Path) -> None:
    """Write DIR/report.html: the verdict on one run, who led when, what the client saw, how fast it was.

    It judges DIR as `verify` does. Exit code 0: the page is written, whatever the verdict on it; 2: DIR cannot be read
    or written.
    """
    try:
        run = gather(folder)
        path = write_page(folder, render(folder.resolve().name, run, judge(run)))
    except RaftLabError as error:
        click.echo(f"report: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    click.echo(f"report: {path}")


def write_page(folder: Path, page: str) -> Path:
    """Write report.html; raises SettingsError where that cannot be."""
    path = folder / REPORT_FILE
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise SettingsError(
            f"{path}: expected to write the report there, found: {error.strerror}. "
            "Correct the permissions of DIR, or report on a copy of it."
        ) from None
    return path
