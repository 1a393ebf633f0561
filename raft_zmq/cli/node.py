"""`raft-node`: one node of the cluster, from its settings to its last log line."""

import gc
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import click
import msgspec

from raft_zmq.cli.data_directory import check, repair
from raft_zmq.core.errors import RaftLabError
from raft_zmq.node import Node
from raft_zmq.settings import Settings, load
from raft_zmq.transport.memory import keep_freed, use_huge_pages

GC_THRESHOLDS = (50_000, 50, 1000)  # a full collection walks the whole log and state: keep it rare
GIL_SWITCH_S = 0.0005  # the snapshot's and the HTTP server's threads must not keep the loop waiting for long


def _options(command: click.Command) -> click.Command:
    """One flag for each field of Settings, with its description and default."""
    for field in msgspec.structs.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        description = _description(field.type)
        default = "" if field.default in ("", None) else f" [default: {_shown(field.default)}]"
        command.params.append(
            click.Option([flag, field.name], help=f"{description}{default}", metavar=_metavar(field.type), default=None)
        )
    return command


def _description(type_: Any) -> str:
    for part in get_args(type_)[1:] if get_origin(type_) is Annotated else ():
        if isinstance(part, msgspec.Meta) and part.description:
            return part.description
    return ""


def _metavar(type_: Any) -> str:
    while get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    choices = [str(choice) for choice in get_args(type_)]
    return "|".join(choices) if choices else {bool: "true|false", str: "TEXT"}.get(type_, type_.__name__.upper())


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


@click.group(
    name="raft-node",
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
    context_settings={"max_content_width": 120},
    help="Run one node of a Raft cluster.\n\nEvery setting may be a flag, a variable RAFT_… (RAFT_NODE_ID for "
    "--node-id) or a line of the YAML file given by --config, in that order of precedence. Log lines are JSON on "
    "standard output. SIGTERM hands over leadership and ends the node.\n\nWith a command it does that instead, on "
    "the data directory of a node that does not run, and takes no settings.",
)
@click.option(
    "--config", "config", type=click.Path(path_type=Path), envvar="RAFT_CONFIG", help="YAML file of settings."
)
@click.version_option(package_name="raft-zmq")
@click.pass_context
def run(context: click.Context, /, config: Path | None, **flags: Any) -> None:
    """Load the settings, run the node, and end with the exit code that says how it went."""
    if context.invoked_subcommand is not None:
        given = [name for name, value in flags.items() if value is not None]
        if given:
            raise click.UsageError(
                f"{context.invoked_subcommand} takes no settings, found --{given[0].replace('_', '-')}."
            )
        return
    keep_freed()
    node = Node(load(flags, os.environ, config))
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: node.stop(signal.Signals(number).name))
    sys.setswitchinterval(GIL_SWITCH_S)
    gc.freeze()  # what was built so far stays
    use_huge_pages()
    gc.set_threshold(*GC_THRESHOLDS)
    node.run()


_options(run)
run.add_command(check)
run.add_command(repair)


def main() -> None:
    """Entry point: any error of ours is one line on standard error, and its exit code (2: settings, 1: disk)."""
    try:
        sys.exit(run.main(prog_name="raft-node", standalone_mode=False))  # the code of a command that ends with one
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(1)
    except RaftLabError as error:
        click.echo(f"raft-node: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
