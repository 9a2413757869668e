"""Messages of the ``files`` namespace: files that clients give to the host."""

from __future__ import annotations

from .chat import FileType
from .endpoints import Rpc
from .structs import WireStruct


class UploadFileBase64Parameter(WireStruct, frozen=True):
    name: str
    content_base64: bytes
    """Base64 on the wire only."""


class UploadedFile(WireStruct, frozen=True):
    """What the host has made of a file; the identifier is what a chat refers to it by."""

    identifier: str
    file_type: FileType
    size_bytes: int


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
