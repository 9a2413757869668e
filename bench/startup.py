"""Start times, in new processes, with their files in the page cache."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from .measure import Spread
from .noise import Say, others_of, rounds
from .processes import PYTHON, running, serving
from .ways import PROMPT

IMPORTS = {
    "import studiolo": "import studiolo",
    "import studiolo; studiolo.Client": "import studiolo; studiolo.Client",
    "import lmstudio": "import lmstudio",
}


@dataclass(frozen=True)
class Startup:
    """Start times, in seconds."""

    imports: dict[str, Spread]
    """The time that each import adds to a bare interpreter, whose own time is ``bare python``."""
    command: Spread
    """From the start of ``studiolo complete``, embedded, to its first output."""
    listening: Spread
    """From the start of ``studiolo serve`` until it listens."""
    loaded: Spread
    """From the start of ``studiolo serve`` until its model is loaded."""
    others: dict[str, Spread]
    """The cores that other programs used meanwhile."""


def measure_startup(model: str, count: int, say: Say) -> Startup:
    """Measure imports ``count`` times, commands half as often."""
    few = max(3, count // 2)
    for run in (_run_imports, lambda: _complete(model), lambda: _serve(model)):
        run()  # warms the caches
    say("import times")
    imports = rounds(count, _run_imports, say)
    say("studiolo complete, to the first token")
    commands = rounds(few, lambda: _complete(model), say)
    say("studiolo serve, to the model loaded")
    serves = rounds(few, lambda: _serve(model), say)
    bare = Spread.of([round.result["bare python"] for round in imports])
    added = {name: Spread.of([round.result[name] - bare.median for round in imports]) for name in IMPORTS}
    return Startup(
        imports={"bare python": bare, **added},
        command=Spread.of([round.result for round in commands]),
        listening=Spread.of([round.result[0] for round in serves]),
        loaded=Spread.of([round.result[1] for round in serves]),
        others={"imports": others_of(imports), "complete": others_of(commands), "serve": others_of(serves)},
    )


def _run_imports() -> dict[str, float]:
    times: dict[str, float] = {}
    for name, code in {"bare python": "pass", **IMPORTS}.items():
        began = time.perf_counter()
        subprocess.run([*PYTHON, "-c", code], check=True)
        times[name] = time.perf_counter() - began
    return times


def _complete(model: str) -> float:
    command = ["-m", "studiolo", "complete", PROMPT, "--model", model, "--max-tokens", "1", "--temperature", "0"]
    began = time.perf_counter()
    with running(command, environment={"STUDIOLO_HOST": "embedded"}) as process:
        assert process.stdout is not None
        if not process.stdout.read(1):
            raise RuntimeError(f"studiolo complete printed nothing: {process.communicate()[1]}")
        seconds = time.perf_counter() - began
        process.wait()
    return seconds


def _serve(model: str) -> tuple[float, float]:
    with serving(model) as server:
        assert server.loaded_after is not None
        return server.listening_after, server.loaded_after
