"""The Hugging Face hub: search, list and locate files.

Requests are made by the hub's own client, in a child process that is ended when a request is cancelled. So the user's
token (``HF_TOKEN``, or the one of ``hf auth login``), mirror (``HF_ENDPOINT``), proxy and offline mode
(``HF_HUB_OFFLINE``) apply as they do everywhere else. The files themselves are downloaded by :mod:`.http_transfer`.
"""

from __future__ import annotations

import json
import os
from typing import TypeVar

import msgspec
from msgspec import Struct

from ..struct_types import examined
from .sources.base import SourceUnavailable
from .sources.worker_process import run_worker

T = TypeVar("T")

_ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


class HubError(SourceUnavailable):
    """The hub did not answer, or refused. ``kind``: ``offline``, ``unreachable``, ``gated``, ``refused``,
    ``no repository``, ``no revision``, ``no file``, ``HTTP ...`` or ``failed``."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Located(Struct, frozen=True):
    """The location of a file: ``path`` on this machine, else ``url`` on the hub and the ``headers`` to send."""

    path: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None


class HubFile(Struct, frozen=True):
    """A file of a repository. ``sha256`` is known only of large files."""

    path: str
    size: int | None = None
    sha256: str | None = None


class HubFiles(Struct, frozen=True):
    """The files of a repository at a commit."""

    files: list[HubFile]
    commit: str | None = None
    gated: bool = False


class HubModel(Struct, frozen=True):
    """A repository in the results of a search."""

    id: str
    downloads: int | None = None
    likes: int | None = None
    tags: list[str] | None = None
    gated: bool | str | None = None
    pipeline_tag: str | None = None


class _Found(Struct):
    models: list[HubModel]


class _Failed(Struct):
    failed: str
    reason: str = ""


def endpoint() -> str:
    """Return the hub's address: ``HF_ENDPOINT`` if it is set."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


async def locate(repo: str, file: str, revision: str = "main") -> Located:
    """Return the location of ``file`` in ``repo``.

    Raises:
        HubError: the hub does not have it, refuses access or cannot be reached.
    """
    return await _ask(Located, f"{repo}, {file}, revision {revision}", repo, "locate", repo, file, revision)


async def list_files(repo: str, revision: str = "main") -> HubFiles:
    """Return the files of ``repo``.

    Raises:
        HubError: the hub does not have the repository, refuses access or cannot be reached.
    """
    return await _ask(HubFiles, f"{repo}, revision {revision}", repo, "files", repo, revision)


async def search(term: str, limit: int) -> list[HubModel]:
    """Return at most ``limit`` repositories with GGUF files that match ``term``, most downloads first.

    Raises:
        HubError: the hub cannot be reached.
    """
    return (await _ask(_Found, f"a search for {term}", "", "search", term, str(limit))).models


async def _ask(kind: type[T], what: str, repo: str, *arguments: str) -> T:
    lines: list[bytes] = []
    plain = map(json.dumps, arguments)  # in ASCII: what every locale passes on to a process
    await run_worker(["hub", *plain], environment=_ENVIRONMENT, on_line=lines.append)
    answer = next((line for line in reversed(lines) if line.startswith(b"{")), b"")
    try:
        try:
            failed = msgspec.json.decode(answer, type=examined(_Failed))
        except msgspec.ValidationError:
            return msgspec.json.decode(answer, type=examined(kind))
    except msgspec.MsgspecError as error:
        raise HubError("failed", f"the hub's answer about {what} is not understood: {error}") from error
    raise HubError(failed.failed, _explain(failed, what, repo))


def _explain(failed: _Failed, what: str, repo: str) -> str:
    """Return an explanation of a failure, with what to do about it."""
    hub = endpoint()
    token = (
        "Check that the token in HF_TOKEN is right and may read it"
        if os.environ.get("HF_TOKEN")
        else f"Set HF_TOKEN to a token from {hub}/settings/tokens"
    )
    match failed.failed:
        case "gated":
            return f"{repo} is gated: its terms must be accepted at {hub}/{repo}. {token}"
        case "refused":
            return f"the hub refuses {what}. {token}"
        case "no repository":
            return f"the hub has no repository {repo} that can be seen from here. If it is private or gated: {token}"
        case "no revision":
            return f"the hub's repository {repo} has no such revision ({what})"
        case "no file":
            return f"the hub's repository {repo} has no such file ({what})"
        case "offline":
            return "offline mode is on (HF_HUB_OFFLINE)" + (
                f", and {repo} is not in the hub's cache here" if repo else ""
            )
        case "unreachable":
            return f"the hub at {hub} cannot be reached: {failed.reason}"
        case _:
            return f"the hub failed ({failed.failed}): {failed.reason}"
