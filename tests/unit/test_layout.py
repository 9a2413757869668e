"""The layout of the tests: what two test modules share is in ``tests/support``."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def imported_by(path: Path) -> set[str]:
    """Return the modules that a file imports, and what it imports from them, with dots."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = "tests." if node.level else ""
            names |= {f"{package}{node.module or ''}.{each.name}" for each in node.names}
    return names


def test_no_module_imports_a_test_module_or_a_conftest() -> None:
    for path in TESTS.rglob("*.py"):
        for name in imported_by(path):
            parts = name.split(".")
            wrong = any(part.startswith("test_") or part == "conftest" for part in parts)
            assert not (parts[0] == "tests" and wrong), f"{path.relative_to(TESTS)} imports {name}"
