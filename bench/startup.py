"""How long things take to start. Everything is in fresh processes, with its files in the page cache."""

from __future__ import annotations

import subprocess
import time

from .measure import Spread
from .processes import PYTHON, running, serving
from .ways import PROMPT

BARE = "pass"
IMPORTS = {
    "import studiolo": "import studiolo",
    "import studiolo; studiolo.Client": "import studiolo; studiolo.Client",
    "import lmstudio": "import lmstudio",
}


def import_times(rounds: int) -> dict[str, Spread]:
    """Seconds that each import adds to a bare interpreter's run, the median of which is under its own name."""
    times: dict[str, list[float]] = {code: [] for code in (BARE, *IMPORTS.values())}
    for number in range(rounds + 1):
        for code, seconds in times.items():
            began = time.perf_counter()
            subprocess.run([*PYTHON, "-c", code], check=True)
            if number:  # the first round fills the caches
                seconds.append(time.perf_counter() - began)
    bare = Spread.of(times[BARE]).median
    added = {name: Spread.of([seconds - bare for seconds in times[code]]) for name, code in IMPORTS.items()}
    return {"bare python": Spread.of(times[BARE]), **added}


def command_to_first_token(model: str, rounds: int) -> Spread:
    """Seconds from starting ``studiolo complete``, embedded, to the first text on its output."""
    command = ["-m", "studiolo", "complete", PROMPT, "--model", model, "--max-tokens", "1", "--temperature", "0"]
    times: list[float] = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        with running(command, environment={"STUDIOLO_HOST": "embedded"}) as process:
            assert process.stdout is not None
            if not process.stdout.read(1):
                raise RuntimeError(f"studiolo complete printed nothing: {process.communicate()[1]}")
            if number:
                times.append(time.perf_counter() - began)
            process.wait()
    return Spread.of(times)


def serve_times(model: str, rounds: int) -> tuple[Spread, Spread]:
    """Seconds from starting ``studiolo serve`` until it listens, and until its model is loaded."""
    listening: list[float] = []
    loaded: list[float] = []
    for _ in range(rounds):
        with serving(model) as server:
            assert server.loaded_after is not None
            listening.append(server.listening_after)
            loaded.append(server.loaded_after)
    return Spread.of(listening), Spread.of(loaded)
