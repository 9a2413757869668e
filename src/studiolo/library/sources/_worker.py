"""The child process of a source: runs pip or the hub's client, and ends when its parent ends.

It is run by its path, outside the package: only pip or the hub's client has to be importable.
Usage: ``_worker.py pip ARGUMENT...`` or ``_worker.py hub TASK ARGUMENT...``, the arguments of a task as JSON.
A hub task prints one JSON object: the result, or ``failed`` (a kind of failure) and ``reason``.
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
    # The parent holds the other end of standard input, which closes when the parent ends, in whatever way.
    os.read(0, 1)
    os._exit(1)


def _locate(repo: str, file: str, revision: str) -> dict[str, Any]:
    """Return the location of a file in a repository: in the hub's cache on this machine, or on the hub."""
    import huggingface_hub as hub

    kept = hub.try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(kept, str):  # another program has downloaded it; works offline, too
        blob = Path(kept).resolve()
        return {"path": str(blob), "size": blob.stat().st_size, "sha256": _sha256(blob.name)}
    url = hub.hf_hub_url(repo, file, revision=revision)
    about = hub.get_hf_file_metadata(url)  # pyright: ignore[reportUnknownMemberType]
    if about.commit_hash:  # the branch may move during the download
        url = hub.hf_hub_url(repo, file, revision=about.commit_hash)
    headers = hub.utils.build_hf_headers(library_name="studiolo")  # pyright: ignore
    return {"url": url, "headers": headers, "size": about.size, "sha256": _sha256(about.etag), "etag": about.etag}


def _sha256(etag: str | None) -> str | None:
    """Return the SHA-256 in the hub's ETag of a large file. The ETag of a small one is a Git hash, which is shorter."""
    return etag if etag and len(etag) == 64 else None


def _search(term: str, limit: str) -> dict[str, Any]:
    """Return the repositories with GGUF files that match ``term``, most downloads first."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # pyright: ignore

    # One request for one page: HfApi.list_models() retries for half a minute if the hub cannot be reached.
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
    """Return the files of a repository, with sizes and hashes."""
    import huggingface_hub as hub

    about = hub.HfApi().model_info(repo, revision=revision, files_metadata=True)
    files: list[dict[str, Any]] = [
        {"path": each.rfilename, "size": each.size, "sha256": each.lfs.sha256 if each.lfs else None}
        for each in about.siblings or []
    ]
    return {"files": files, "commit": about.sha, "gated": bool(about.gated)}


_TASKS: dict[str, Callable[..., dict[str, Any]]] = {"locate": _locate, "search": _search, "files": _files}


def _run_hub_task(task: str, *arguments: str) -> dict[str, Any]:
    """Run a task. After a transient failure (a busy server, a broken connection) it is retried a few times."""
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
    """Return the kind of a failure, and the delay before the next attempt (0: the usual one; None: no attempt)."""
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
        # The hub answers 401 as well if a repository does not exist, to hide private ones.
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
    print(json.dumps(_run_hub_task(*map(json.loads, arguments))), flush=True)


if __name__ == "__main__":
    main()
