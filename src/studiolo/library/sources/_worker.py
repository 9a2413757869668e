"""The child process of a source: runs pip or the hub's client, and ends when its parent does.

Run by its path, outside the package: only the library that does the work has to be importable.
Usage: ``_worker.py pip ARGUMENT...`` or ``_worker.py hub TASK ARGUMENT...``. A hub task prints one JSON object:
what was asked for, or ``failed`` (a kind of failure) and ``reason``.
"""

import json
import os
import random
import runpy
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRIES = 4
LONGEST_WAIT_SECONDS = 60


def _end_with_parent() -> None:
    # The other end of standard input is held by the parent, and closes however the parent ends.
    os.read(0, 1)
    os._exit(1)


def _locate(repo: str, file: str, revision: str) -> dict[str, Any]:
    """Where a file of a repository is: in the hub's cache on this machine, or on the hub."""
    import huggingface_hub as hub

    kept = hub.try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(kept, str):  # fetched before by another program; works offline, too
        blob = Path(kept).resolve()
        return {"path": str(blob), "size": blob.stat().st_size, "sha256": _sha256(blob.name)}
    url = hub.hf_hub_url(repo, file, revision=revision)
    about = hub.get_hf_file_metadata(url)  # pyright: ignore[reportUnknownMemberType]
    if about.commit_hash:  # the branch may move while the file is fetched
        url = hub.hf_hub_url(repo, file, revision=about.commit_hash)
    headers = hub.utils.build_hf_headers(library_name="studiolo")  # pyright: ignore
    return {"url": url, "headers": headers, "size": about.size, "sha256": _sha256(about.etag), "etag": about.etag}


def _sha256(etag: str | None) -> str | None:
    """The hub's ETag of a large file is its sha256; that of a small one, a Git hash, is shorter."""
    return etag if etag and len(etag) == 64 else None


def _search(term: str, limit: str) -> dict[str, Any]:
    """Repositories with GGUF files that fit ``term``, those fetched most often first."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # pyright: ignore

    # One page, asked for once: HfApi.list_models() tries for half a minute where the hub cannot be reached.
    answer = get_session().get(
        f"{constants.ENDPOINT}/api/models",
        params={"search": term, "filter": "gguf", "sort": "downloads", "limit": limit},
        headers=build_hf_headers(library_name="studiolo"),  # pyright: ignore
        timeout=constants.DEFAULT_REQUEST_TIMEOUT,
    )
    hf_raise_for_status(answer)
    fields = ("id", "downloads", "likes", "tags", "gated", "pipeline_tag")
    return {"models": [{name: model.get(name) for name in fields} for model in answer.json()]}


def _files(repo: str, revision: str) -> dict[str, Any]:
    """The files of a repository, their sizes and hashes."""
    import huggingface_hub as hub

    about = hub.HfApi().model_info(repo, revision=revision, files_metadata=True)
    files: list[dict[str, Any]] = [
        {"path": each.rfilename, "size": each.size, "sha256": each.lfs.sha256 if each.lfs else None}
        for each in about.siblings or []
    ]
    return {"files": files, "commit": about.sha, "gated": bool(about.gated)}


_TASKS: dict[str, Callable[..., dict[str, Any]]] = {"locate": _locate, "search": _search, "files": _files}


def _run_hub_task(task: str, *arguments: str) -> dict[str, Any]:
    """Run a task; what may pass (a busy or failing server, a broken connection) is tried again a few times."""
    for attempt in range(TRIES):
        try:
            return _TASKS[task](*arguments)
        except Exception as error:
            kind, wait = _judge(error)
            last = attempt == TRIES - 1 or (kind == "unreachable" and attempt == 1)
            if last or wait is None or wait > LONGEST_WAIT_SECONDS:
                return {"failed": kind, "reason": _reason(error)}
            time.sleep(wait or 0.5 * 2**attempt * random.uniform(0.8, 1.2))
    raise AssertionError


def _judge(error: Exception) -> tuple[str, float | None]:
    """The kind of a failure, and how long to wait before the next attempt (0: as long as usual; None: do not try)."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "offline", None
    if isinstance(error, errors.GatedRepoError):
        return "gated", None
    if isinstance(error, errors.RevisionNotFoundError):
        return "no revision", None
    if isinstance(error, errors.EntryNotFoundError):
        return "no file", None
    response = getattr(error, "response", None)
    if response is None:
        clients = ("httpx", "requests", "urllib3")
        return ("unreachable", 0) if type(error).__module__.startswith(clients) else ("failed", None)
    if isinstance(error, errors.RepositoryNotFoundError):
        # The hub answers 401 for what does not exist as well, so that nobody can tell the private ones.
        return "no repository", None
    status = int(response.status_code)
    if status in (401, 403):
        return "refused", None
    if status == 429 or status >= 500:
        asked = str(response.headers.get("Retry-After") or "")
        return f"HTTP {status}", float(asked) if asked.isdecimal() else 0
    return f"HTTP {status}", None


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:800] or type(error).__name__


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task, arguments = sys.argv[1], sys.argv[2:]
    if task == "pip":
        sys.argv = ["pip", *arguments]
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
        return
    print(json.dumps(_run_hub_task(*arguments)), flush=True)


if __name__ == "__main__":
    main()
