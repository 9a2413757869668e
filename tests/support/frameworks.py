"""Environments of programs that speak the HTTP dialects, each made once for all runs."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements-frameworks.lock"


def python_of_frameworks(cache: Path) -> Path:
    """Return the Python of an environment with exactly what is locked."""
    return python_of("frameworks", cache, LOCK, "--require-hashes")


def python_of(name: str, cache: Path, requirements: Path, *options: str) -> Path:
    """Return the Python of an environment below ``cache`` with what the file ``requirements`` lists.

    Parameters:
        options: of ``uv pip install``.
    """
    version = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"{name}-{version}"
    python = folder / "bin" / "python"
    with (cache / f"{name}.lock").open("w") as installing:
        fcntl.flock(installing, fcntl.LOCK_EX)  # tests in several processes may begin at once
        if (folder / "complete").exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), *options, "-r", str(requirements)]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return python
