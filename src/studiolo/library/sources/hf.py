"""``hf``: the Hugging Face hub, through its own library, so that tokens, mirrors and offline mode work as users know.

Options: ``repo``, ``file``, and ``revision`` (default ``main``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

from msgspec import Struct

from .base import OnBytes, SourceUnavailableError, read_options

WATCH_EVERY_SEC = 0.1

# The library downloads in threads that cannot be stopped: in a process of its own it can be.
_CHILD = """
import json, sys
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
repo, file, revision, folder = sys.argv[1:]
about = get_hf_file_metadata(hf_hub_url(repo, file, revision=revision))
print(json.dumps({"size": about.size, "etag": about.etag}), flush=True)
print(json.dumps({"path": hf_hub_download(repo, file, revision=revision, local_dir=folder)}), flush=True)
"""


class HubOptions(Struct, forbid_unknown_fields=True):
    repo: str
    file: str
    revision: str = "main"


class HuggingFaceSource:
    """Downloads one file of a repository."""

    async def fetch(self, options: dict[str, Any], folder: Path, target: Path, on_bytes: OnBytes) -> str | None:
        """See :meth:`.base.Source.fetch`."""
        wanted = read_options(options, HubOptions)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _CHILD, wanted.repo, wanted.file, wanted.revision, str(folder)),
            env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None and process.stderr is not None
        complaint = asyncio.create_task(process.stderr.read())
        watching: asyncio.Task[None] | None = None
        about: dict[str, Any] = {}
        try:
            while line := await process.stdout.readline():
                about |= json.loads(line)
                if watching is None:
                    watching = asyncio.create_task(_watch(folder, about.get("size") or 0, on_bytes))
            await process.wait()
            if process.returncode != 0 or "path" not in about:
                lines = (await complaint).decode(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else f"its process ended with status {process.returncode}"
                raise SourceUnavailableError(f"the hub could not give {wanted.repo}/{wanted.file}: {reason}")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            for task in (watching, complaint):
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        Path(about["path"]).replace(target)
        etag = str(about.get("etag") or "")
        return etag if len(etag) == 64 else None  # the hub's tag of a large file is its SHA-256


async def _watch(folder: Path, total: int, on_bytes: OnBytes) -> None:
    while True:
        await asyncio.sleep(WATCH_EVERY_SEC)
        sizes: list[int] = []
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):
                sizes.append(file.stat().st_blocks * 512)  # the library may lay out the file before it is filled
        on_bytes(min(sum(sizes), total), total)
