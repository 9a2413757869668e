"""Messages of the ``files`` namespace: files that clients upload, documents and retrieval."""

from __future__ import annotations

from typing import Literal

from .chat import FileType
from .declarations import Channel, Rpc
from .kv import KvConfig
from .structs import Message, WireStruct


class UploadFileBase64Parameter(WireStruct, frozen=True):
    name: str
    content_base64: bytes
    """Base64 on the wire, plain bytes here."""


class UploadedFile(WireStruct, frozen=True):
    """A file that the host has stored. Chats refer to it by its identifier."""

    identifier: str
    file_type: FileType
    size_bytes: int
    is_audio: bool = False
    """Whether it is audio: studiolo's addition. LM Studio's clients know no such ``file_type``, and get ``unknown``."""


UPLOAD_FILE_BASE64: Rpc[UploadFileBase64Parameter, UploadedFile] = Rpc(
    "uploadFileBase64", UploadFileBase64Parameter, UploadedFile
)


class LocalFilePathParameter(WireStruct, frozen=True):
    file_name: str


class LocalFilePath(WireStruct, frozen=True):
    path: str


GET_LOCAL_FILE_ABSOLUTE_PATH: Rpc[LocalFilePathParameter, LocalFilePath] = Rpc(
    "getLocalFileAbsolutePath", LocalFilePathParameter, LocalFilePath
)

PageOrLine = int | tuple[int, int]
"""Numbers start at 1; a pair is the first and the last."""


class ParserIdentifier(WireStruct, frozen=True):
    """The library that reads a kind of document."""

    library: str
    version: str


class ParseOpts(WireStruct, frozen=True):
    parser_id: ParserIdentifier | None = None


class ParseDocumentParameter(WireStruct, frozen=True):
    file_identifier: str
    parse_opts: ParseOpts = ParseOpts()


class ParserLoaded(Message, frozen=True, tag="parserLoaded"):
    parser: ParserIdentifier


class ParseProgress(Message, frozen=True, tag="progress"):
    progress: float


class ParsedDocument(Message, frozen=True, tag="result"):
    """The text of a document, and the parser that read it."""

    content: str
    parser: ParserIdentifier


ParseMessage = ParserLoaded | ParseProgress | ParsedDocument

PARSE_DOCUMENT: Channel[ParseDocumentParameter, ParseMessage] = Channel(
    "parseDocument", ParseDocumentParameter, ParseMessage
)


class FileIdentifierParameter(WireStruct, frozen=True):
    file_identifier: str


GET_PARSING_LIBRARY: Rpc[FileIdentifierParameter, ParserIdentifier] = Rpc(
    "getDocumentParsingLibrary", FileIdentifierParameter, ParserIdentifier
)

Step = Literal["loading", "chunking", "embedding"]


class RetrieveParameter(WireStruct, frozen=True):
    query: str
    file_identifiers: list[str]
    config: KvConfig
    """The keys are ``retrieval.chunkingMethod``, ``retrieval.limit`` and ``retrieval.embeddingModel``."""


class FileProcessList(Message, frozen=True, tag="onFileProcessList"):
    """The files to process: those without stored vectors, as indices into the request's list."""

    indices: list[int]


class FileProcessingStart(Message, frozen=True, tag="onFileProcessingStart"):
    index: int


class FileProcessingEnd(Message, frozen=True, tag="onFileProcessingEnd"):
    index: int


class StepStart(Message, frozen=True, tag="onFileProcessingStepStart"):
    index: int
    step: Step


class StepProgress(Message, frozen=True, tag="onFileProcessingStepProgress"):
    index: int
    step: Step
    progress: float


class StepEnd(Message, frozen=True, tag="onFileProcessingStepEnd"):
    index: int
    step: Step


class SearchingStart(Message, frozen=True, tag="onSearchingStart"):
    pass


class SearchingEnd(Message, frozen=True, tag="onSearchingEnd"):
    pass


class RetrievedEntry(WireStruct, frozen=True, kw_only=True):
    content: str
    score: float
    source_index: int
    page_number: PageOrLine | None = None
    line_number: PageOrLine | None = None


class RetrievedEntries(WireStruct, frozen=True, omit_defaults=False):
    entries: list[RetrievedEntry]


class Retrieved(Message, frozen=True, tag="result"):
    result: RetrievedEntries


RetrieveMessage = (
    FileProcessList
    | FileProcessingStart
    | FileProcessingEnd
    | StepStart
    | StepProgress
    | StepEnd
    | SearchingStart
    | SearchingEnd
    | Retrieved
)

RETRIEVE: Channel[RetrieveParameter, RetrieveMessage] = Channel("retrieve", RetrieveParameter, RetrieveMessage)
