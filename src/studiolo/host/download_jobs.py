"""Downloads that are under way on behalf of nobody who waits, by job id."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Literal

from ..domain.progress import DownloadProgress
from ..errors import StoredItemNotFoundError, StudioloError
from ..library.download_options import DownloadOption
from ..library.model_library import Library

MAX_JOBS = 200
"""Finished jobs that are remembered; the oldest are forgotten."""

JobStatus = Literal["downloading", "completed", "failed"]


@dataclass
class DownloadJob:
    """A download.

    Parameters:
        id: the job's.
        total_bytes: of all files; 0 where the source does not say.
        started_at: when it was begun, in seconds since 1970; ``ended_at`` when it ended, ``None`` before.
        progress: the last that is known.
        error: why it failed.
    """

    id: str
    total_bytes: int
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    progress: DownloadProgress | None = None
    error: StudioloError | None = None

    @property
    def status(self) -> JobStatus:
        """Whether it runs, or how it ended."""
        if self.ended_at is None:
            return "downloading"
        return "completed" if self.error is None else "failed"


class DownloadJobs:
    """The downloads of a host by their ids."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._jobs: dict[str, DownloadJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, option: DownloadOption) -> DownloadJob:
        """Begin to download ``option``."""
        job = DownloadJob(f"job_{secrets.token_hex(8)}", option.size_bytes)
        self._jobs[job.id] = job
        ended = [each.id for each in self._jobs.values() if each.ended_at is not None]
        for old in ended[: max(len(ended) - MAX_JOBS, 0)]:
            del self._jobs[old]
        task = asyncio.create_task(self._run(job, option), name=f"download {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def get(self, job_id: str) -> DownloadJob:
        """Return a job. Raise :class:`StoredItemNotFoundError` for an unknown id."""
        if (job := self._jobs.get(job_id)) is None:
            raise StoredItemNotFoundError(f"There is no download job {job_id!r}")
        return job

    async def close(self) -> None:
        """Stop the downloads; the partial files are kept."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, job: DownloadJob, option: DownloadOption) -> None:
        def take(progress: DownloadProgress) -> None:
            job.progress = progress

        try:
            await self._library.fetch_option(option, take)
        except StudioloError as error:
            job.error = error
        finally:
            job.ended_at = time.time()
