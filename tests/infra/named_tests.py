"""The project's tests by name and docstring, read from their source: nothing is imported and nothing is run."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def defined_tests(path: Path) -> Iterator[ast.FunctionDef]:
    """The test functions of a file, in its order."""
    for node in parse(path).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def collected_files() -> list[Path]:
    """Every file that pytest collects from."""
    return sorted((ROOT / "tests").rglob("test_*.py"))
