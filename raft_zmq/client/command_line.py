"""How a command ends: any error of ours is one line on standard error, and its exit code."""

import math
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from raft_zmq.core.errors import RaftLabError

DONE, NOT_SO, BAD_USAGE, NO_ANSWER = range(4)


class NotSoError(RaftLabError):
    """The thing asked about is not so: a compare that fails, a key that is not there."""

    exit_code = NOT_SO


class FiniteRange(click.FloatRange):
    """A FloatRange without nan, which no bound keeps out, and without inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; ends the command with what was expected when it is none of the range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"expected a finite number, found {value}.", param, ctx)
        return number


def run(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> None:
    """Run it, by default with the arguments of this process, and exit.

    0 done, 1 the thing asked about is not so, 2 bad usage or configuration, 3 no answer in time.
    """
    try:
        command.main(arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
        code = DONE
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context else program
        click.echo(f"{path}: {' '.join(error.format_message().split())} See `{path} --help`.", err=True)
        code = error.exit_code
    except click.exceptions.Exit as stopped:
        code = stopped.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python's own flush at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = NOT_SO
    except RaftLabError as error:
        click.echo(f"{program}: {error}", err=True)
        code = error.exit_code
    sys.exit(code)
