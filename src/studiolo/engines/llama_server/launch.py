"""Start a program that ends with its parent: ``python -m studiolo.engines.llama_server.launch``.

Reads one line of JSON from standard input (``command``, ``environment``, ``parent_pid``). On Linux the kernel is asked
to end the program with its parent, and this process becomes it. Elsewhere this process stays, and ends the program
when standard input ends or it is told to end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from ..llama_cpp.worker import SPIN_COUNT


def main() -> None:
    spec: dict[str, Any] = json.loads(_line())
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.update(spec["environment"])
    os.dup2(2, 1)  # whatever it prints belongs in the log
    command: list[str] = spec["command"]
    try:
        if sys.platform == "linux":
            _become(command, spec["parent_pid"])
        _watch(command)
    except OSError as error:
        print(f"{command[0]} cannot be executed: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(126)


def _line() -> bytes:
    """One line, and nothing after it: what is buffered here would be lost to the program."""
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return bytes(line)


def _become(command: list[str], parent_pid: int) -> None:
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2); it outlives execve(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the call above
        os._exit(1)
    os.execv(command[0], command)


def _watch(command: list[str]) -> None:
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_politely(_number: int, _frame: object) -> None:
        program.terminate()

    def end_with_parent() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(OSError):
            program.kill()

    signal.signal(signal.SIGTERM, end_politely)
    threading.Thread(target=end_with_parent, daemon=True).start()
    status = program.wait()
    if status < 0:  # tell by the same signal how it ended
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
