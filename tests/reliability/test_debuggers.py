"""Programs that predict under a debugger: pdb in a terminal, and debugpy, which debugs the workers, too."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from studiolo.paths import Home
from tests.support.debug_session import DebugSession, SilentAdapterError
from tests.support.pseudo_terminal import typed_program
from tests.support.running import environment, free_port, wait_until

pytestmark = [pytest.mark.timeout(175), pytest.mark.slow, pytest.mark.quick_model]

PROGRAM = """
import studiolo as lm

CALM = {"max_tokens": 5, "temperature": 0}

def streamed(llm):
    text = ""
    for fragment in llm.complete_stream("My name is", config=CALM):
        text += fragment.content
    return text

with lm.Client("embedded") as client:
    llm = client.llm.model("smollm2-135m-instruct", config={"context_length": 256, "max_parallel_predictions": 2})
    first = streamed(llm)
    print("the same:", first == streamed(llm) == llm.complete("My name is", config=CALM).content != "")
"""

IN_THE_STREAM = PROGRAM.splitlines().index("        text += fragment.content") + 1
WHOLE = 'llm.complete("My name is", config=CALM).content'


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_pdb_in_a_terminal(program: Path, home: Home) -> None:
    variables = environment(home, STUDIOLO_HOST="embedded", TERM="dumb")
    with typed_program([sys.executable, "-m", "pdb", program.name], variables, program.parent) as pdb:
        pdb.until(r"\(Pdb\) ")
        pdb.type(f"tbreak {IN_THE_STREAM}\r")
        pdb.until(r"\(Pdb\) ")
        pdb.type("continue\r")
        pdb.until(r"-> text \+= fragment.content\s+\(Pdb\) ")
        pdb.type("next\r")
        pdb.until(r"-> for fragment in .*\s+\(Pdb\) ")
        pdb.type(f"p text != '' and {WHOLE}.startswith(text)\r")
        pdb.until(r"\nTrue\s+\(Pdb\) ")
        pdb.type("continue\r")
        pdb.until(r"the same: True[\s\S]*\(Pdb\) ")
        pdb.type("quit\r")
        pdb.rest()


def test_debugpy_with_the_workers(program: Path, home: Home, tmp_path: Path) -> None:
    for _ in range(4):  # its adapter is sometimes silent to those that attach to a process
        with contextlib.suppress(SilentAdapterError):
            debug_once(program, home, tmp_path)
            return
    raise AssertionError("the debug adapter has answered in no try")


def debug_once(program: Path, home: Home, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client", str(program)]
    variables = environment(
        home, STUDIOLO_HOST="embedded", PYDEVD_DISABLE_FILE_VALIDATION="1", PYDEVD_UNBLOCK_THREADS_TIMEOUT="0.5"
    )
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=out, stderr=out)
    found: list[DebugSession] = []

    def connected() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            found.append(DebugSession(port, {program: [IN_THE_STREAM]}))
        return bool(found)

    try:
        wait_until(connected, "debugpy to listen")
        (session,) = found
        session.wait_for("stopped")
        assert session.evaluate(f"text == '' and {WHOLE}.startswith(fragment.content)") == "True"
        assert session.children, "the engine's worker is debugged, too"
        session.ask("setBreakpoints", source={"path": str(program)}, breakpoints=[])
        session.resume()
        session.wait_for("terminated")
        assert process.wait(60) == 0 and "the same: True" in log.read_text(), log.read_text()
    finally:
        for session in found:
            session.close()
        process.kill()
        process.wait()
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if "debugpy" in " ".join(each.cmdline()) and each.environ().get("STUDIOLO_HOME") == str(home.root):
                    each.kill()
