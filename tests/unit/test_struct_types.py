"""Types that several threads use for the first time at once: msgspec alone crashes the process then."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import studiolo

SOURCE = Path(studiolo.__file__).parent

PROGRAM = """
import sys, threading
import msgspec
from studiolo.struct_types import examined

sys.setswitchinterval(1e-6)
for number in range(100):
    inner = msgspec.defstruct(f"Inner{number}", [(f"x{each}", int | None, None) for each in range(5)])
    fields = [(f"f{each}", inner | None | str if each % 2 else int | None, None) for each in range(40)]
    kind = msgspec.defstruct(f"Outer{number}", fields)
    begin = threading.Barrier(4)

    def use():
        begin.wait()
        USE

    threads = [threading.Thread(target=use) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
print("done")
"""

USES = [
    'assert msgspec.convert({"f0": 1, "f39": {"x4": 3}}, examined(kind)).f39.x4 == 3',
    'assert msgspec.json.decode(b\'[{"f1": {"x0": 2}}]\', type=examined(list[kind]))[0].f1.x0 == 2',
    'assert msgspec.json.Decoder(examined(kind)).decode(b\'{"f39": {"x4": 1}}\').f39.x4 == 1',
]


@pytest.mark.parametrize("use", USES)
def test_a_type_is_examined_by_one_thread_at_a_time(use: str) -> None:
    program = PROGRAM.replace("USE", use)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_every_type_that_is_decoded_to_is_examined_first() -> None:
    faults: list[str] = []
    for path in SOURCE.rglob("*.py"):
        source = path.read_bytes()
        for node in ast.walk(ast.parse(source)) if b"msgspec." in source else ():
            if isinstance(node, ast.Call) and (kind := _kind_of(node)) is not None and not _is_examined(kind):
                faults.append(f"{path.relative_to(SOURCE)}:{node.lineno}: {ast.unparse(node)}")
    assert [each for each in faults if not each.startswith("struct_types.py")] == []


def _kind_of(call: ast.Call) -> ast.expr | None:
    """Return the type that a call of msgspec's decodes to; ``None`` for other calls."""
    match ast.unparse(call.func).split("."):
        case ["msgspec", "convert"]:
            return call.args[1]
        case ["msgspec", _, "Decoder"]:
            return call.args[0]
        case ["msgspec", _, "decode"]:
            return next((each.value for each in call.keywords if each.arg == "type"), None)
        case _:
            return None


def _is_examined(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Call) and ast.unparse(kind.func) == "examined"
