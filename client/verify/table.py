"""The verdict as a table for people; plain text where no terminal shows it."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.verify.verdict import Check, Verdict

STYLES = {"pass": "green", "fail": "bold red", "vacuous": "bold yellow"}
PLAIN_WIDTH = 200  # columns, where there is no terminal to ask


def show(verdict: Verdict, console: Console | None = None) -> None:
    """Print the table, then every violation, then the verdict in one line."""
    console = console or Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH, no_color=True)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for column in ("check", "where", "status", "checked", "what was there"):
        table.add_column(column, justify="right" if column == "checked" else "left")
    for check in verdict.checks:
        status = Text(check.status, STYLES[check.status])
        table.add_row(check.name, check.section, status, str(check.checked), Text(check.detail))
    console.print(table)
    for line in _explanations(verdict):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(conclusion(verdict), STYLES["pass" if verdict.ok else "fail"]), soft_wrap=True)


def conclusion(verdict: Verdict) -> str:
    """The verdict in one line."""
    held = sum(check.status == "pass" for check in verdict.checks)
    if verdict.ok:
        return f"VERDICT: passed, {held} of {len(verdict.checks)} checks hold"
    told = ""
    for status, word in (("fail", "failed"), ("vacuous", "vacuous")):
        names = [check.name for check in verdict.checks if check.status == status]
        told += f"; {word}: {', '.join(names)}" if names else ""
    return f"VERDICT: failed, {held} of {len(verdict.checks)} checks hold{told}"


def _explanations(verdict: Verdict) -> Iterator[str]:
    for check in verdict.checks:
        if check.violations:
            yield f"{check.name}: {check.claim}"
            yield from (f"  - {_indented(violation)}" for violation in check.violations)
        elif check.status == "vacuous":
            yield _vacuous(check)


def _vacuous(check: Check) -> str:
    return f"{check.name}: vacuous, there was nothing to check ({check.detail})"


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
