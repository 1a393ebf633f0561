"""What every command of raftctl shares: the configuration, the patience, and how to print."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console, RenderableType

from raft_zmq.client.client import DEFAULT_TIMEOUT_S, RaftClient
from raft_zmq.client.config import load
from raft_zmq.core.errors import SettingsError

_WIDTH_WITHOUT_TERMINAL = 160

_F = TypeVar("_F", bound=Callable[..., Any])


class Control:
    """The options in front of the command."""

    def __init__(self) -> None:
        self.config: Path | None = None
        self.timeout_s = DEFAULT_TIMEOUT_S
        self.as_json = False

    def client(self) -> RaftClient:
        """A client for the configured cluster, closed when the command ends; raises SettingsError without a file."""
        if self.config is None:
            raise SettingsError(
                "--config: expected a client.yaml, found none. Give it in front of the command "
                "(`raftctl --config DIR/client.yaml …`) or set RAFTCTL_CONFIG."
            )
        client = RaftClient(load(self.config), timeout_s=self.timeout_s)
        click.get_current_context().call_on_close(client.close)
        return client

    def show(self, value: object, text: RenderableType) -> None:
        """Print the value as JSON if that was asked for, else the text or table made for people."""
        if self.as_json:
            click.echo(json.dumps(value, ensure_ascii=False))
        elif isinstance(text, str):
            click.echo(text)
        else:
            console().print(text)


class OrderedGroup(click.Group):
    """Shows its commands in the order they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's shape
        """The names, in order."""
        return list(self.commands)


pass_control = click.make_pass_decorator(Control)


def console() -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH_WITHOUT_TERMINAL
    return Console(width=width, highlight=False)


def json_option(command: _F) -> _F:
    """Add --json to a command."""

    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001  # click's shape
        if value:
            context.ensure_object(Control).as_json = True

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON instead of text."
    )(command)


def printable(value: bytes) -> str:
    """Bytes as text; what is no UTF-8 becomes backslash escapes."""
    return value.decode("utf-8", "backslashreplace")
