"""The official TypeScript client as npm has it: installed once a version, its programs and its schemas."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.npm_packages import installed_packages, node, node_environment

PROGRAMS = Path(__file__).with_name("typescript")
VERSIONS = ("1.5.0", "2.0.0")


@functools.cache
def installed(version: str, cache: Path) -> Path:
    """The folder below ``cache`` with the client of that version; installed where it is not yet."""
    return installed_packages(PROGRAMS / f"sdk-{version}", f"typescript-{version}", cache)


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
