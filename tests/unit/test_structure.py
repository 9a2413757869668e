"""The structure of the source: no circle of imports, no file that is two, nothing that names what it must not know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo

SOURCE = Path(studiolo.__file__).parent
MAX_LINES = 400
REASON = "Longer than 400 lines because "
"""How the docstring of a longer file says why."""


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    found: dict[str, Path] = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def running_code(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from running_code(node)


def imports(name: str) -> Iterator[str]:
    """The modules that a module imports when it runs: at its top and in functions."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in running_code(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield whole if whole in MODULES else module


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_no_circle_of_imports() -> None:
    public = "studiolo"  # imports every public name lazily, and is imported by nobody but for its version
    graph = {name: {each for each in imports(name) if each in MODULES and each != name} for name in MODULES}
    assert circles({name: targets - {public} for name, targets in graph.items() if name != public}) == []


def test_the_search_for_circles_finds_one() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_of_more_than_400_lines_says_why(path: Path) -> None:
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines <= MAX_LINES or REASON in (ast.get_docstring(ast.parse(text)) or ""), f"{path} has {lines} lines"


FORBIDDEN = [
    ("domain", ("protocol", "config", "engines", "library", "host", "dialects", "server", "sdk", "cli", "settings")),
    *((room, ("protocol",)) for room in ("config", "engines", "library", "host", "server", "settings")),
]


@pytest.mark.parametrize(("room", "others"), FORBIDDEN, ids=[room for room, _ in FORBIDDEN])
def test_a_room_does_not_know(room: str, others: tuple[str, ...]) -> None:
    inside = [name for name in MODULES if name == f"studiolo.{room}" or name.startswith(f"studiolo.{room}.")]
    assert inside
    for name in inside:
        for target in imports(name):
            assert not any(
                target == f"studiolo.{other}" or target.startswith(f"studiolo.{other}.") for other in others
            ), f"{name} imports {target}"
