"""Where a program may run: in archives, folders beside the environment, other interpreters, under other names."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo
from studiolo.errors import EngineStartError
from studiolo.paths import Home
from studiolo.platform import interpreter
from tests.support.running import environment, printed_by

PACKAGE = Path(studiolo.__file__).parent
SITE_PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))

PROGRAM = """
import importlib, sys
lm = importlib.import_module({name!r})
assert {place!r} in lm.__file__, lm.__file__
with lm.Client("embedded") as client:
    llm = client.llm.model("smollm2-135m-instruct", config={{"context_length": 256, "max_parallel_predictions": 1}})
    print(llm.complete("My name is", config={{"max_tokens": 3, "temperature": 0}}).content)
"""

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow, pytest.mark.quick_model]


def modules() -> Iterator[tuple[Path, str]]:
    """Yield the files of the package, and their paths in it."""
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path, path.relative_to(PACKAGE).as_posix()


def copy_to(folder: Path) -> Path:
    for path, name in modules():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(path.read_bytes())
    return folder


def test_a_zipapp(home: Home, tmp_path: Path) -> None:
    archive = tmp_path / "program.pyz"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("__main__.py", PROGRAM.format(name="studiolo", place="program.pyz"))
        for path, name in modules():
            out.write(path, f"studiolo/{name}")
    assert printed_by(home, str(archive), folder=tmp_path)


def test_a_copy_under_another_name_without_site_packages(home: Home, tmp_path: Path) -> None:
    """As ``pip install --target`` and a vendored copy: the worker must find what the program has put on its path."""
    vendor = tmp_path / "app" / "_vendor"
    copy_to(vendor / "studiolo")
    for folder in (vendor.parent, vendor):
        (folder / "__init__.py").touch()
    program = tmp_path / "main.py"
    text = PROGRAM.format(name="app._vendor.studiolo", place="_vendor")
    program.write_text(f"import sys; sys.path += [{SITE_PACKAGES!r}]\n{text}")
    assert printed_by(home, "-S", str(program), folder=tmp_path)


def test_a_long_path_of_temporary_files_with_spaces(home: Home, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as root:
        place = Path(root) / f"a b %d {'x' * (125 - len(root) - 8)}"
        place.mkdir()
        text = PROGRAM.format(name="studiolo", place="studiolo")
        assert printed_by(home, "-c", text, folder=tmp_path, TMPDIR=str(place))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system")
def test_temporary_files_on_another_file_system(home: Home, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        assert Path(other).stat().st_dev != home.root.stat().st_dev
        text = PROGRAM.format(name="studiolo", place="studiolo")
        assert printed_by(home, "-c", text, folder=tmp_path, TMPDIR=other)


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX shell")
def test_a_program_whose_standard_streams_are_closed(home: Home, tmp_path: Path) -> None:
    text = PROGRAM.format(name="studiolo", place="studiolo").replace("print(", "open('answer', 'w').write(")
    line = 'exec "$0" -c "$1" <&- >&- 2>&-'
    variables = environment(home, STUDIOLO_HOST="embedded")
    subprocess.run(["sh", "-c", line, sys.executable, text], cwd=tmp_path, env=variables, check=True)
    assert (tmp_path / "answer").read_text()


DEBUGGED = """
import sys
events = 0
def trace(frame, event, argument):
    global events
    events += 1
    return trace
import threading
threading.settrace(trace)
sys.settrace(trace)
{program}
sys.settrace(None)
assert events
"""

IN_A_LOOP = """
import asyncio
async def cell():
{program}
asyncio.run(cell())
"""


@pytest.mark.parametrize("around", [DEBUGGED, IN_A_LOOP], ids=["a debugger", "a running event loop"])
def test_a_program_in(around: str, home: Home, tmp_path: Path) -> None:
    text = PROGRAM.format(name="studiolo", place="studiolo")
    if around is IN_A_LOOP:
        text = "\n".join(f"    {line}" for line in text.splitlines())
    assert printed_by(home, "-c", around.format(program=text), folder=tmp_path)


def test_the_interpreter_of_a_program_that_embeds_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(interpreter.VARIABLE, raising=False)
    assert interpreter.interpreter() == sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "blender"))
    found = interpreter.interpreter()
    assert Path(found).is_file() and Path(found).name.startswith("python")
    monkeypatch.setenv(interpreter.VARIABLE, "/my/python")
    assert interpreter.interpreter() == "/my/python"


def test_a_frozen_program_without_an_interpreter_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(interpreter.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(EngineStartError, match=r"has no Python interpreter.*STUDIOLO_PYTHON"):
        interpreter.python_command("engines.llama_cpp.worker")


def test_a_worker_does_not_import_from_the_programs_folder(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('imported')")
    program = tmp_path / "main.py"
    program.write_text(
        "import sys; sys.path[:] = [each for each in sys.path[1:]] ; import studiolo.platform.interpreter as i\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "print(i._places())"
    )
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert repr(str(tmp_path)) not in done.stdout and os.path.basename(SITE_PACKAGES) in done.stdout  # noqa: PTH119
