"""The commands of the key-value store: put get delete cas append incr scan."""

import sys

import click

from raft_zmq.cli.context import Control, json_option, pass_control, printable
from raft_zmq.client.command_line import NotSoError
from raft_zmq.wire.commands import KEY_BYTES_MAX, VALUE_BYTES_MAX

_FROM_STDIN = "-"


class _Bytes(click.ParamType[bytes]):
    """Text of the command line as bytes, of a length that every node takes."""

    name = "text"

    def __init__(self, what: str, bytes_min: int, bytes_max: int, *, from_stdin: bool = False) -> None:
        """`from_stdin`: "-" reads standard input to its end."""
        self._what = what
        self._bytes_min = bytes_min
        self._bytes_max = bytes_max
        self._from_stdin = from_stdin

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        if value == _FROM_STDIN and self._from_stdin:
            data = sys.stdin.buffer.read(self._bytes_max + 1)
        else:
            data = value.encode("utf-8", "surrogateescape")
        if not self._bytes_min <= len(data) <= self._bytes_max:
            found = "more" if len(data) > self._bytes_max else len(data)
            self.fail(
                f"expected {self._what} of {self._bytes_min} to {self._bytes_max} bytes, found {found}.", param, ctx
            )
        return data


_KEY = _Bytes("a key", 1, KEY_BYTES_MAX)
_PREFIX = _Bytes("the beginning of a key", 0, KEY_BYTES_MAX)
_VALUE = _Bytes("a value", 0, VALUE_BYTES_MAX, from_stdin=True)
_VALUE_IN_WORDS = _Bytes("a value", 0, VALUE_BYTES_MAX)


@click.command()
@click.argument("key", type=_KEY)
@click.argument("value", type=_VALUE)
@json_option
@pass_control
def put(control: Control, key: bytes, value: bytes) -> None:
    """Set KEY to VALUE.

    The VALUE "-" is read from standard input.
    """
    control.client().put(key, value)
    control.show({"key": printable(key), "ok": True}, "ok")


@click.command()
@click.argument("key", type=_KEY)
@json_option
@pass_control
def get(control: Control, key: bytes) -> None:
    """Print the value of KEY.

    Exit 1 if there is no such key. The value is printed byte by byte as it is. The read is linearizable: it sees
    every write that was acknowledged before it.
    """
    value = control.client().get(key)
    if control.as_json:
        control.show({"key": printable(key), "value": None if value is None else printable(value)}, "")
    if value is None:
        raise NotSoError(f"get: expected a key {printable(key)!r}, found none. `raftctl scan` lists the keys.")
    if not control.as_json:
        click.echo(value)


@click.command()
@click.argument("key", type=_KEY)
@json_option
@pass_control
def delete(control: Control, key: bytes) -> None:
    """Remove KEY, and say whether it existed."""
    existed = control.client().delete(key)
    control.show({"key": printable(key), "existed": existed}, "deleted" if existed else "there was no such key")


@click.command()
@click.option("--absent", is_flag=True, help="Expect that KEY does not exist; then EXPECTED is left out.")
@click.argument("key", type=_KEY)
@click.argument("values", type=_VALUE_IN_WORDS, nargs=-1, required=True, metavar="[EXPECTED] VALUE")
@json_option
@pass_control
def cas(control: Control, absent: bool, key: bytes, values: tuple[bytes, ...]) -> None:
    """Set KEY to VALUE if it holds EXPECTED.

    Compare-and-swap: exit 1, with nothing changed, if KEY holds something else.
    """
    if len(values) != (1 if absent else 2):
        wanted = "KEY VALUE with --absent" if absent else "KEY EXPECTED VALUE"
        raise click.UsageError(f"cas: expected {wanted}, found {len(values)} values behind the key.")
    expected = None if absent else values[0]
    swapped = control.client().cas(key, expected, values[-1])
    if control.as_json:
        control.show({"key": printable(key), "swapped": swapped}, "")
    if not swapped:
        what = "no such key" if expected is None else repr(printable(expected))
        raise NotSoError(f"cas: expected {what} at {printable(key)!r}, found something else; nothing was changed")
    if not control.as_json:
        click.echo("swapped")


@click.command()
@click.argument("key", type=_KEY)
@click.argument("value", type=_VALUE)
@json_option
@pass_control
def append(control: Control, key: bytes, value: bytes) -> None:
    """Add VALUE at the end of KEY's value.

    Prints the new length in bytes.
    """
    length = control.client().append(key, value)
    control.show({"key": printable(key), "bytes": length}, str(length))


@click.command(context_settings={"ignore_unknown_options": True})  # an amount may start with a minus sign
@click.argument("key", type=_KEY)
@click.argument("amount", type=click.IntRange(-(2**63), 2**63 - 1), default=1)
@json_option
@pass_control
def incr(control: Control, key: bytes, amount: int) -> None:
    """Add to the integer at KEY.

    AMOUNT is 1 if left out. Prints the new number.
    """
    number = control.client().incr(key, amount)
    control.show({"key": printable(key), "number": number}, str(number))


@click.command()
@click.argument("prefix", type=_PREFIX, default="")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, help="At most so many pairs.")
@click.option("--after", type=_PREFIX, default="", help="Only keys behind this one: where the last scan ended.")
@json_option
@pass_control
def scan(control: Control, prefix: bytes, limit: int, after: bytes) -> None:
    """Print keys and values in key order.

    Those whose key starts with PREFIX; all of them, if it is left out.
    """
    pairs = [
        (printable(key), printable(value)) for key, value in control.client().scan(prefix, limit=limit, after=after)
    ]
    if control.as_json:
        control.show([{"key": key, "value": value} for key, value in pairs], "")
        return
    for key, value in pairs:
        click.echo(f"{key}\t{value}")


COMMANDS = (put, get, delete, cas, append, incr, scan)
