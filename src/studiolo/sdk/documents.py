"""Documents on the host: their text, and retrieval of passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from ..errors import ChannelClosedError
from ..plain_values import supports
from ..protocol import files as wire
from ..protocol.chat import FileHandle
from ..protocol.kv import KvConfig, KvField
from .arguments import instance_of, integer, many, optional, text, text_or_path, wrong_type
from .callbacks import call, check_options
from .session import Session
from .timeouts import Timeout, deadline_of

DEFAULT_CHUNK_SIZE = 512
DEFAULT_CHUNK_OVERLAP = 100


class HasIdentifier(Protocol):
    """A handle of a loaded model, of the sync or the async API."""

    @property
    def identifier(self) -> str: ...


class RetrievalCallbacks(TypedDict, total=False):
    """The callbacks of a retrieval. A step is ``loading``, ``chunking`` or ``embedding``; progress is 0 to 1."""

    on_file_process_list: Callable[[list[FileHandle]], Any]
    on_file_processing_start: Callable[[FileHandle], Any]
    on_file_processing_end: Callable[[FileHandle], Any]
    on_file_processing_step_start: Callable[[FileHandle, str], Any]
    on_file_processing_step_progress: Callable[[FileHandle, str, float], Any]
    on_file_processing_step_end: Callable[[FileHandle, str], Any]
    on_searching_start: Callable[[], Any]
    on_searching_end: Callable[[], Any]


class RetrievalOptions(RetrievalCallbacks, total=False):
    """The keyword arguments of a retrieval; see :meth:`AsyncFilesNamespace.retrieve`."""

    embedding_model: HasIdentifier | str | None
    limit: int | None
    chunk_size: int | None
    chunk_overlap: int | None
    timeout: Timeout


@dataclass(frozen=True)
class RetrievedPassage:
    """A retrieved passage.

    Parameters:
        score: its similarity to the query, at most 1.
        source: its file.
        page_number, line_number: its position, counted from 1; the first and the last if it spans several.
    """

    content: str
    score: float
    source: FileHandle
    page_number: wire.PageOrLine | None
    line_number: wire.PageOrLine | None


@dataclass(frozen=True)
class RetrievalResult:
    """The retrieved passages, the most similar first."""

    entries: list[RetrievedPassage]


async def retrieve(
    session: Session, query: str, files: Sequence[FileHandle], options: RetrievalOptions
) -> RetrievalResult:
    """See :meth:`AsyncFilesNamespace.retrieve`."""
    check_options("retrieve", options, RetrievalOptions)
    deadline = deadline_of(options.get("timeout"), "retrieve()")
    query, files = text(query, "query"), many(_handle, files, "files", "a list of file handles")
    limit, chunk_size, chunk_overlap = (
        optional(integer, options.get(name), name) for name in ("limit", "chunk_size", "chunk_overlap")
    )
    settings: dict[str, Any] = {
        "limit": limit,
        "embeddingModel": optional(_model_name, options.get("embedding_model"), "embedding_model"),
    }
    if chunk_size is not None or chunk_overlap is not None:
        size = DEFAULT_CHUNK_SIZE if chunk_size is None else chunk_size
        overlap = min(DEFAULT_CHUNK_OVERLAP, size // 5) if chunk_overlap is None else chunk_overlap
        settings["chunkingMethod"] = {"type": "recursive-v1", "chunkSize": size, "chunkOverlap": overlap}
    fields = [KvField(f"retrieval.{key}", value) for key, value in settings.items() if value is not None]
    parameter = wire.RetrieveParameter(query, [file.identifier for file in files], KvConfig(fields))
    async with session.messages("files", wire.RETRIEVE, parameter, deadline) as messages:
        async for message in messages:
            match message:
                case wire.Retrieved(result=result):
                    return RetrievalResult(
                        [
                            RetrievedPassage(
                                each.content, each.score, files[each.source_index], each.page_number, each.line_number
                            )
                            for each in result.entries
                        ]
                    )
                case _:
                    _report(options, message, files)
    raise ChannelClosedError("The host ended the retrieval without a result")


_handle = instance_of(FileHandle, "Pass handles that prepare_file() returned.")


def _model_name(value: Any, name: str) -> str:
    identifier = getattr(value, "identifier", value)
    if not isinstance(identifier, str) and not supports(value, "__fspath__"):
        raise wrong_type(value, name, "a handle or the name of an embedding model")
    return text_or_path(identifier, name)


def _report(callbacks: RetrievalCallbacks, message: wire.RetrieveMessage, files: Sequence[FileHandle]) -> None:
    match message:
        case wire.FileProcessList(indices=indices):
            call(callbacks.get("on_file_process_list"), [files[index] for index in indices])
        case wire.FileProcessingStart(index=index):
            call(callbacks.get("on_file_processing_start"), files[index])
        case wire.FileProcessingEnd(index=index):
            call(callbacks.get("on_file_processing_end"), files[index])
        case wire.StepStart(index=index, step=step):
            call(callbacks.get("on_file_processing_step_start"), files[index], step)
        case wire.StepProgress(index=index, step=step, progress=progress):
            call(callbacks.get("on_file_processing_step_progress"), files[index], step, progress)
        case wire.StepEnd(index=index, step=step):
            call(callbacks.get("on_file_processing_step_end"), files[index], step)
        case wire.SearchingStart():
            call(callbacks.get("on_searching_start"))
        case wire.SearchingEnd():
            call(callbacks.get("on_searching_end"))
        case _:
            pass
