"""Real builds of llama-server, which take many minutes: ``make runtimes`` asks for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from studiolo.paths import Home
from tests.support.running import STUDIOLO, environment

LIMIT_SEC = 4 * 3600


def built(cache: Path, backend: str) -> Path:
    """Return the llama-server that the command has built for ``backend`` in the tests' cache; it is built once."""
    home = Home(cache / "runtimes-home")
    home.root.mkdir(parents=True, exist_ok=True)
    binary = home.runtimes / backend / "bin" / "llama-server"
    if not binary.exists():
        words = [*STUDIOLO, "runtime", "build", "--backend", backend, "--select", "never"]
        subprocess.run(words, env=environment(home), check=True, timeout=LIMIT_SEC)
    return binary
