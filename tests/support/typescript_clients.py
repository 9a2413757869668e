"""The official TypeScript client as npm has it: installed once a version, its programs and its schemas."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).with_name("typescript")
VERSIONS = ("1.5.0", "2.0.0")


@functools.cache
def installed(version: str, cache: Path) -> Path:
    """The folder below ``cache`` with the client of that version; installed where it is not yet."""
    locked = PROGRAMS / f"sdk-{version}"
    digest = hashlib.sha256((locked / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = cache / f"typescript-{version}-{digest}"
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


@functools.cache
def schemas(version: str, cache: Path) -> dict[str, Any]:
    """What ``schemas.mjs`` prints for the client of that version; kept beside it."""
    folder = installed(version, cache)
    program = (PROGRAMS / "schemas.mjs").read_bytes()
    kept = folder / f"schemas-{hashlib.sha256(program).hexdigest()[:12]}.json"
    with (cache / "typescript.lock").open("w") as dumping:
        fcntl.flock(dumping, fcntl.LOCK_EX)
        if not kept.exists():
            unfinished = kept.with_suffix(".part")
            unfinished.write_text(run(folder, "schemas.mjs"))
            unfinished.rename(kept)
    return json.loads(kept.read_text())


CALLED = re.compile(
    r"LMStudioClient|(Model|LLM|Embedding|System|Files|Diagnostics|Plugins)Namespace|\w*Repository\w*Namespace"
    r"|Runtime\w*Namespace|\w*DynamicHandle|LLM|EmbeddingModel|OngoingPrediction|FileHandle|ArtifactDownloadPlanner"
    r"|ModelSearchResult\w+"
)
"""The classes whose methods lead to a server; all others are the client's own code, or a plugin's."""


def public_methods(folder: Path) -> set[str]:
    """The methods that the installed client declares for its users, as ``Class.method``."""
    declared = (folder / "node_modules" / "@lmstudio" / "sdk" / "dist" / "index.d.ts").read_text()
    bodies = re.findall(r"^(?:export )?declare (?:abstract )?class (\w+)(.*?)^}", declared, re.MULTILINE | re.DOTALL)
    methods = re.compile(r"^    (?:abstract )?(?!constructor)(\w+|\[Symbol\.\w+\])[(<]", re.MULTILINE)
    return {f"{kind}.{name}" for kind, body in bodies if CALLED.fullmatch(kind) for name in methods.findall(body)}


def run(folder: Path, program: str, *arguments: str, text: str | None = None, limit_sec: float = 120) -> str:
    """Run a program of ``tests/support/typescript``, or ``text`` under that name, with the client in ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder) as place:  # of its own: others run programs of that name, too
        for module in PROGRAMS.glob("*.mjs"):
            shutil.copy(module, place)
        if text is not None:
            Path(place, program).write_text(text)
        done = subprocess.run(
            [node("node"), program, *arguments],
            cwd=place,
            env=node_environment(),
            capture_output=True,
            text=True,
            timeout=limit_sec,
        )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def node(program: str) -> str:
    """Node's programs come with the development requirements."""
    return str(Path(sys.executable).with_name(program))


def node_environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
