"""Packages of npm: installed once, as a lock file has them, and Node, which comes with the development requirements."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def installed_packages(locked: Path, name: str, cache: Path) -> Path:
    """The folder below ``cache`` with the packages of the lock file in ``locked``; installed where they are not yet."""
    digest = hashlib.sha256((locked / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    with (cache / "typescript.lock").open("w") as installing:
        fcntl.flock(installing, fcntl.LOCK_EX)  # tests in several processes may begin at once
        if not (folder / "node_modules" / ".installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(locked, folder)
            done = subprocess.run(
                [node("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                env=node_environment(),
                capture_output=True,
                text=True,
                timeout=170,
            )
            assert done.returncode == 0, done.stderr
            (folder / "node_modules" / ".installed").touch()
    return folder


def node(program: str) -> str:
    """Node's programs come with the development requirements."""
    return str(Path(sys.executable).with_name(program))


def node_environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
