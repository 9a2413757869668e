"""The ``hf`` source: a file in a repository on the Hugging Face hub, or in the hub's cache on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from .. import hub
from ..http_transfer import Remote, transfer
from .base import Job, SourceUnavailable, copy_file

_HINT = "the repository may be gated or private: accept its terms on its page, and set HF_TOKEN"


class HuggingFaceSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Parameters:
        repo: the repository, ``owner/name``.
        file: the path of the GGUF file in it.
        revision: a branch, a tag or a commit.
    """

    repo: Annotated[str, Meta(pattern=r"^[\w.-]+/[\w.-]+$")]
    file: str
    revision: str = "main"


class HuggingFaceSource:
    """Download from the Hugging Face hub; see :mod:`studiolo.library.hub`."""

    spec_type: ClassVar[type[Struct]] = HuggingFaceSpec

    def describe(self, spec: HuggingFaceSpec) -> str:
        return f"{spec.repo}, {spec.file}"

    def space(self, spec: HuggingFaceSpec, size_bytes: int) -> int:
        return size_bytes

    async def fetch(self, spec: HuggingFaceSpec, job: Job) -> str | None:
        found = await hub.locate(spec.repo, spec.file, spec.revision)
        if found.path is not None:
            await copy_file(Path(found.path), job)
            return found.sha256
        if found.url is None:
            raise SourceUnavailable("the hub gave no address")
        remote = Remote(
            url=found.url,
            headers=found.headers,
            size_bytes=found.size,
            sha256=found.sha256,
            tag=found.etag and f"hub:{found.etag}",
            hint=_HINT,
        )
        await transfer(remote, job.target, job.on_bytes, job.threads)
        return found.sha256
