"""The part of the ``files`` namespace that parses documents and retrieves passages from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...domain.models import ModelReference
from ...domain.progress import HEARTBEAT_SEC
from ...errors import ConfigError, UnsupportedError
from ...host.documents import Document, Parser
from ...host.retrieval import Found, RetrievalProgress
from ...protocol import files as wire
from ...struct_types import examined
from .context import Context, ServerChannel
from .progress import reporting
from .registry import channel, rpc

DEFAULT_LIMIT = 5
DEFAULT_CHUNK_SIZE = 512
DEFAULT_CHUNK_OVERLAP = 100


class _Chunking(msgspec.Struct, rename="camel"):
    type: str = "recursive-v1"
    chunk_size: int = DEFAULT_CHUNK_SIZE
    chunk_overlap: int = DEFAULT_CHUNK_OVERLAP


class _Settings(msgspec.Struct, rename="camel"):
    chunking_method: _Chunking = msgspec.field(default_factory=_Chunking)
    limit: int = DEFAULT_LIMIT
    embedding_model: str = ""
    database_file: str = ""


@rpc(wire.GET_PARSING_LIBRARY, "files")
async def get_document_parsing_library(
    context: Context, parameter: wire.FileIdentifierParameter
) -> wire.ParserIdentifier:
    return _parser(await context.host.documents.parser(parameter.file_identifier))


@channel(wire.PARSE_DOCUMENT, "files")
async def parse_document(
    context: Context, parameter: wire.ParseDocumentParameter, channel: ServerChannel[wire.ParseMessage]
) -> None:
    name = parameter.file_identifier
    documents = context.host.documents
    parser = _parser(await documents.parser(name))
    requested = parameter.parse_opts.parser_id
    if requested is not None and requested.library != parser.library:
        raise UnsupportedError(
            f"The file {context.host.files.name(name)!r} is read with {parser.library}, not with {requested.library}",
            feature=requested.library,
            suggestion="Leave the parser out.",
        )
    await channel.send(wire.ParserLoaded(parser))

    async def read(report: Callable[[wire.ParseMessage], None]) -> Document:
        report(wire.ParseProgress(0.0))
        return await documents.read(name, lambda share: report(wire.ParseProgress(share)))

    document = await reporting(read, channel.send, heartbeat_sec=HEARTBEAT_SEC)
    await channel.send(wire.ParsedDocument(document.content, parser))


@channel(wire.RETRIEVE, "files")
async def retrieve(
    context: Context, parameter: wire.RetrieveParameter, channel: ServerChannel[wire.RetrieveMessage]
) -> None:
    settings = _settings(parameter)
    reference = ModelReference(name=settings.embedding_model or None)

    async def find(report: Callable[[wire.RetrieveMessage], None]) -> list[Found]:
        async with context.host.lease(reference, "embedding", context.client) as lease:
            return await context.host.retriever.retrieve(
                parameter.query,
                parameter.file_identifiers,
                lease,
                _progress(report),
                limit=settings.limit,
                chunk_size=settings.chunking_method.chunk_size,
                chunk_overlap=settings.chunking_method.chunk_overlap,
            )

    found = await reporting(
        find,
        channel.send,
        heartbeat_sec=HEARTBEAT_SEC,
        repeatable=lambda message: isinstance(message, wire.StepProgress),  # other messages must not be repeated
    )
    entries = [
        wire.RetrievedEntry(
            content=each.chunk.content,
            score=each.score,
            source_index=each.source,
            page_number=each.chunk.page,
            line_number=each.chunk.line,
        )
        for each in found
    ]
    await channel.send(wire.Retrieved(wire.RetrievedEntries(entries)))


def _progress(report: Callable[[wire.RetrieveMessage], None]) -> RetrievalProgress:
    def step(index: int, name: wire.Step, progress: float | None, done: bool) -> None:
        if progress is not None:
            report(wire.StepProgress(index, name, progress))
        else:
            report(wire.StepEnd(index, name) if done else wire.StepStart(index, name))
            if not done:
                report(wire.StepProgress(index, name, 0.0))

    return RetrievalProgress(
        files=lambda indices: report(wire.FileProcessList(indices)),
        file=lambda index, done: report(wire.FileProcessingEnd(index) if done else wire.FileProcessingStart(index)),
        step=step,
        searching=lambda done: report(wire.SearchingEnd() if done else wire.SearchingStart()),
    )


def _settings(parameter: wire.RetrieveParameter) -> _Settings:
    given: dict[str, Any] = {
        field.key.removeprefix("retrieval."): field.value
        for field in parameter.config.fields
        if field.key.startswith("retrieval.") and field.value is not None
    }
    try:
        settings = msgspec.convert(given, examined(_Settings))
    except msgspec.ValidationError as error:
        raise ConfigError("The retrieval's settings are invalid", cause=str(error)) from None
    if settings.database_file:
        raise UnsupportedError(
            "Storing vectors in a file of the client's choice is not supported",
            feature="databasePath",
            suggestion="Leave the database path out.",
        )
    if settings.chunking_method.type != "recursive-v1":
        raise ConfigError(f"Unknown chunking method {settings.chunking_method.type!r}; the only one is 'recursive-v1'")
    if settings.limit < 1:
        raise ConfigError(f"The limit of a retrieval is {settings.limit}; it must be at least 1")
    return settings


def _parser(parser: Parser) -> wire.ParserIdentifier:
    return wire.ParserIdentifier(parser.library, parser.version)
