"""How long things take to start. Everything is in fresh processes, with its files in the page cache."""

from __future__ import annotations

import subprocess
import time

from .measure import Spread
from .noise import Say, rounds
from .processes import PYTHON, running, serving
from .ways import PROMPT

IMPORTS = {
    "import studiolo": "import studiolo",
    "import studiolo; studiolo.Client": "import studiolo; studiolo.Client",
    "import lmstudio": "import lmstudio",
}


def import_times(count: int, say: Say) -> dict[str, Spread]:
    """Seconds that each import adds to a bare interpreter's run, which has its own under ``bare python``."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([*PYTHON, "-c", code], check=True)
        return time.perf_counter() - began

    def run_each() -> dict[str, float]:
        return {name: run(code) for name, code in {"bare python": "pass", **IMPORTS}.items()}

    run_each()  # fills the caches
    taken = [round.result for round in rounds(count, run_each, say)]
    bare = Spread.of([times["bare python"] for times in taken])
    return {"bare python": bare, **{name: Spread.of([t[name] - bare.median for t in taken]) for name in IMPORTS}}


def command_to_first_token(model: str, count: int, say: Say) -> Spread:
    """Seconds from starting ``studiolo complete``, embedded, to the first text on its output."""
    command = ["-m", "studiolo", "complete", PROMPT, "--model", model, "--max-tokens", "1", "--temperature", "0"]

    def run() -> float:
        began = time.perf_counter()
        with running(command, environment={"STUDIOLO_HOST": "embedded"}) as process:
            assert process.stdout is not None
            if not process.stdout.read(1):
                raise RuntimeError(f"studiolo complete printed nothing: {process.communicate()[1]}")
            seconds = time.perf_counter() - began
            process.wait()
        return seconds

    run()
    return Spread.of([round.result for round in rounds(count, run, say)])


def serve_times(model: str, count: int, say: Say) -> tuple[Spread, Spread]:
    """Seconds from starting ``studiolo serve`` until it listens, and until its model is loaded."""

    def run() -> tuple[float, float]:
        with serving(model) as server:
            assert server.loaded_after is not None
            return server.listening_after, server.loaded_after

    run()
    taken = [round.result for round in rounds(count, run, say)]
    return Spread.of([listening for listening, _ in taken]), Spread.of([loaded for _, loaded in taken])
