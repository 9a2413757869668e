"""Downloads: begin one, and ask how far it is."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ...host.download_jobs import DownloadJob
from ...library.download_options import recommended
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import Field, honoured, wrong
from ..http.forms import rfc3339
from ..http.models import check_download


class DownloadBody(Struct):
    """The body of a request to download a model."""

    model: Annotated[str, Meta(min_length=1)]
    quantization: Annotated[str, Meta(min_length=1)] | None = None


DOWNLOAD_FIELDS: dict[str, Field] = {
    "model": honoured("A name of the catalog, or owner/repo or an address on the hub."),
    "quantization": honoured("Which of the hub's files, such as Q4_K_M; the recommended one by default."),
}


class DownloadState(Struct, kw_only=True):
    """A download; times are in ISO 8601, in UTC."""

    job_id: str | UnsetType = UNSET
    status: Literal["downloading", "completed", "failed", "already_downloaded"]
    bytes_per_second: float | UnsetType = UNSET
    estimated_completion: str | UnsetType = UNSET
    total_size_bytes: int | UnsetType = UNSET
    downloaded_bytes: int | UnsetType = UNSET
    started_at: str | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


async def begin_download(call: Call[DownloadBody]) -> Answer:
    """Begin to download a model."""
    library, body = call.host.library, call.body
    check_download(body.model)
    name = body.model if body.quantization is None else f"{body.model}@{body.quantization.lower()}"
    options = await library.download_options(name)
    option = recommended(options)
    if body.quantization is not None and (option.quantization or "").lower() != body.quantization.lower():
        offered = ", ".join(each.quantization for each in options if each.quantization) or "none"
        raise wrong("quantization", f"there is no {body.quantization} of {body.model}", f"There are: {offered}.")
    if await library.downloaded(option) is not None:
        return Whole(DownloadState(status="already_downloaded"))
    return Whole(_state(call.host.downloads.begin(option)))


async def download_status(call: Call[None]) -> Answer:
    """Return how far a download is."""
    return Whole(_state(call.host.downloads.get(call.path["job_id"])))


def _state(job: DownloadJob) -> DownloadState:
    total = job.total_bytes or (job.progress.total_bytes if job.progress is not None else 0)
    state = DownloadState(job_id=job.id, status=job.status, total_size_bytes=total, started_at=_time(job.started_at))
    if job.progress is not None:
        state.downloaded_bytes = job.progress.downloaded_bytes
    if job.status == "completed" and job.ended_at is not None:
        state.completed_at = _time(job.ended_at)
        state.downloaded_bytes = total
    elif job.error is not None:
        state.error = str(job.error)
    elif job.progress is not None and (speed := job.progress.speed_bytes_per_second) > 0:
        state.bytes_per_second = speed
        left = job.progress.total_bytes - job.progress.downloaded_bytes
        state.estimated_completion = _time(time.time() + left / speed)
    return state


def _time(seconds: float) -> str:
    return rfc3339(seconds, "milliseconds")
