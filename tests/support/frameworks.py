"""The environment of the frameworks that speak the HTTP dialects, made once for all runs."""

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
    version = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"frameworks-{version}"
    python = folder / "bin" / "python"
    with (cache / "frameworks.lock").open("w") as installing:
        fcntl.flock(installing, fcntl.LOCK_EX)  # tests in several processes may begin at once
        if (folder / "complete").exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(LOCK)]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return python
