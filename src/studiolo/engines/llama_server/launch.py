"""Start a program that ends with its parent: ``python -m studiolo.engines.llama_server.launch``.

Read one line of JSON from standard input (``command``, ``environment``, ``parent_pid``). Where the kernel can end the
program with its parent (Linux), this process becomes the program. Elsewhere this process stays, and ends the program
when standard input ends or when it is asked to end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from ...platform.file_status import create_files_privately
from ...platform.parent_death import on_end_of_input, request_parent_death_signal
from ...platform.processes import end_with_this_process
from ..thread_waits import spin_count


def main() -> None:
    spec: dict[str, Any] = json.loads(_line())
    os.environ.setdefault("GOMP_SPINCOUNT", str(spin_count()))
    os.environ.update(spec["environment"])
    create_files_privately()  # it may write prompts
    os.dup2(2, 1)  # the program's output belongs in the log
    command: list[str] = spec["command"]
    try:
        if request_parent_death_signal(spec["parent_pid"]):
            os.execv(command[0], command)
        _watch(command)
    except OSError as error:
        print(f"{command[0]} cannot be executed: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(126)


def _line() -> bytes:
    """Read one line, and nothing after it: the program does not see what is buffered here."""
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return bytes(line)


def _watch(command: list[str]) -> None:
    """Run the program, and end as it ends."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    end_with_this_process(program.pid)

    def terminate(_number: int, _frame: object) -> None:
        program.terminate()

    def kill() -> None:
        with contextlib.suppress(OSError):
            program.kill()

    signal.signal(signal.SIGTERM, terminate)
    on_end_of_input(kill)
    status = program.wait()
    if status < 0:  # end by the same signal
        with contextlib.suppress(OSError, ValueError):  # SIGKILL cannot be set, and need not be
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
