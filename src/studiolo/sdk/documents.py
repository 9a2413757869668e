"""Documents that are given to the host: what they say, and passages found in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

from ..errors import ChannelClosedError, ConfigError
from ..protocol import files as wire
from ..protocol.chat import FileHandle
from ..protocol.kv import KvConfig, KvField
from .async_models import AsyncEmbeddingModel
from .callbacks import call

if TYPE_CHECKING:
    from .async_client import AsyncClient

DEFAULT_CHUNK_SIZE = 512
DEFAULT_CHUNK_OVERLAP = 100


class RetrievalCallbacks(TypedDict, total=False):
    """Who is told how far a retrieval is. A step is ``loading``, ``chunking`` or ``embedding``; progress is 0 to 1."""

    on_file_process_list: Callable[[list[FileHandle]], Any]
    on_file_processing_start: Callable[[FileHandle], Any]
    on_file_processing_end: Callable[[FileHandle], Any]
    on_file_processing_step_start: Callable[[FileHandle, str], Any]
    on_file_processing_step_progress: Callable[[FileHandle, str, float], Any]
    on_file_processing_step_end: Callable[[FileHandle, str], Any]
    on_searching_start: Callable[[], Any]
    on_searching_end: Callable[[], Any]


@dataclass(frozen=True)
class RetrievedPassage:
    """A passage that was found.

    Parameters:
        score: how near it is to the question, at most 1.
        source: the file that it stands in.
        page_number, line_number: where it stands, counted from 1; the first and the last where there are several.
    """

    content: str
    score: float
    source: FileHandle
    page_number: wire.PageOrLine | None
    line_number: wire.PageOrLine | None


@dataclass(frozen=True)
class RetrievalResult:
    """The passages that were found, the nearest first."""

    entries: list[RetrievedPassage]


async def parse_document(
    client: AsyncClient,
    file: FileHandle,
    on_parser_loaded: Callable[[wire.ParserIdentifier], Any] | None,
    on_progress: Callable[[float], Any] | None,
) -> wire.ParsedDocument:
    """See :meth:`AsyncFilesNamespace.parse_document`."""
    parameter = wire.ParseDocumentParameter(file.identifier)
    async with client.messages("files", wire.PARSE_DOCUMENT, parameter) as messages:
        async for message in messages:
            match message:
                case wire.ParserLoaded(parser=parser):
                    call(on_parser_loaded, parser)
                case wire.ParseProgress(progress=progress):
                    call(on_progress, progress)
                case wire.ParsedDocument():
                    return message
    raise ChannelClosedError(f"The host ended the reading of {file.name} without a result")


async def retrieve(
    client: AsyncClient,
    query: str,
    files: Sequence[FileHandle],
    embedding_model: AsyncEmbeddingModel | str | None,
    limit: int | None,
    chunk_size: int | None,
    chunk_overlap: int | None,
    callbacks: RetrievalCallbacks,
) -> RetrievalResult:
    """See :meth:`AsyncFilesNamespace.retrieve`."""
    for name in callbacks.keys() - RetrievalCallbacks.__annotations__.keys():
        raise ConfigError(f"retrieve() has no parameter {name!r}")
    given: Any = files
    if not isinstance(given, Sequence) or not all(
        isinstance(file, FileHandle) for file in cast("Sequence[Any]", given)
    ):
        raise ConfigError("retrieve() takes a list of handles of files, which prepare_file() returns")
    if not isinstance(cast("Any", query), str):
        raise ConfigError(f"The question is {query!r}, not a text")
    for name, value in {"limit": limit, "chunk_size": chunk_size, "chunk_overlap": chunk_overlap}.items():
        if value is not None and (not isinstance(cast("Any", value), int) or isinstance(value, bool)):
            raise ConfigError(f"{name} is {value!r}, not a whole number")
    if embedding_model is not None and not isinstance(embedding_model, str):
        embedding_model = embedding_model.identifier
    settings: dict[str, Any] = {"limit": limit, "embeddingModel": embedding_model}
    if chunk_size is not None or chunk_overlap is not None:
        size = DEFAULT_CHUNK_SIZE if chunk_size is None else chunk_size
        overlap = min(DEFAULT_CHUNK_OVERLAP, size // 5) if chunk_overlap is None else chunk_overlap
        settings["chunkingMethod"] = {"type": "recursive-v1", "chunkSize": size, "chunkOverlap": overlap}
    fields = [KvField(f"retrieval.{key}", value) for key, value in settings.items() if value is not None]
    parameter = wire.RetrieveParameter(query, [file.identifier for file in files], KvConfig(fields))
    async with client.messages("files", wire.RETRIEVE, parameter) as messages:
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
                    _tell(callbacks, message, files)
    raise ChannelClosedError("The host ended the retrieval without a result")


def _tell(callbacks: RetrievalCallbacks, message: wire.RetrieveMessage, files: Sequence[FileHandle]) -> None:
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
