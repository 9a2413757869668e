"""What is given to a chat beside its questions: images, documents, standard input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...chats.documents import PASSAGES, WHOLE_SHARE, AttachedDocument
from ...domain.chat import Image, Text
from ...errors import ConfigError, LocalFileError, LocalFileNotFoundError
from ...sdk.sync_client import Client
from ...sdk.sync_models import LLM
from ...store.conversation import ConversationPart, Document
from .images import Images

Attachment = Image | AttachedDocument


def attach(client: Client, images: Images, path: Path, *, as_image: bool | None = None) -> Attachment:
    """Read a file for the next question, and check that the host can use it.

    Parameters:
        as_image: whether it must be an image, or must not be read as one; ``None`` for whatever it is.

    Raises:
        LocalFileError: it cannot be read.
        FilesError, UnsupportedError: it is not an image, or no document that the host can read.
    """
    path = path.expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        kind = LocalFileNotFoundError if isinstance(error, FileNotFoundError) else LocalFileError
        raise kind(f"The file {str(path)!r} cannot be read", cause=error.strerror or str(error)) from None
    return attached(client, images, path.name, data, as_image=as_image)


def attached(client: Client, images: Images, name: str, data: bytes, *, as_image: bool | None = None) -> Attachment:
    """Return an attachment with this content; see :func:`attach`."""
    image = Image(data, name)
    if as_image:
        images.handle(image)
        return image
    handle = client.files.prepare_file(data, name)
    if handle.file_type == "image" and as_image is None:
        images.handle(image)
        return image
    return AttachedDocument(name, client.files.parse_document(handle).content, handle)


def question_parts(
    client: Client, llm: LLM, attachments: Sequence[Attachment], question: str
) -> list[ConversationPart]:
    """Return the parts of a question. Of documents that are too long, the passages that fit it are taken."""
    documents = [each for each in attachments if isinstance(each, AttachedDocument)]
    parts: list[ConversationPart] = [each for each in attachments if isinstance(each, Image)]
    room = int(llm.get_context_length() * WHOLE_SHARE) if documents else 0
    for document in documents:
        needed = llm.count_tokens(document.text)
        if needed <= room:
            room -= needed
            parts.append(Document(name=document.name, text=document.text))
        else:
            found = client.files.retrieve(question or document.name, [document.handle], limit=PASSAGES)
            text = "\n\n".join(entry.content for entry in found.entries)
            parts.append(Document(name=document.name, text=text, is_excerpt=True))
    return [*parts, Text(question)]


def piped(data: bytes) -> str | bytes:
    """Return what was read from standard input: a text, or the bytes of a file. Raise :class:`ConfigError`.

    A file is recognized by what no text has: a null byte, or bytes that are not UTF-8.
    """
    if b"\0" not in data:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    if not data.strip(b"\0"):
        raise ConfigError("Standard input has no text and no file")
    return data
