"""Files in a request: images and documents by their addresses are fetched, and documents become their text.

This is done once, before a dialect looks at the request: it sees images as data URLs, and documents as parts with text.
Those of OpenAI's responses, whose items are listed later, stay as they were sent, with both beside: :func:`as_given`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from ...errors import FilesError, InvalidRequestError, StudioloError, UnsupportedError
from ...host.fetching import MAX_FETCHED, Fetched, fetch_files
from ...host.files import image_format
from ...host.host import Host
from .fields import wrong

_CONTENT = "studiolo_content"
"""The member of a part that stays as it was sent: what a model is given of it, a data URL or a text."""

_INNER = ("content", "output", "source")
"""Members of messages and parts that hold further parts. Others, such as the input of a tool, are data."""

MAX_DEPTH = 16
"""How deep a part may lie in a field."""

MAX_DOCUMENTS = MAX_FETCHED
"""Documents of one request."""

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.=-]+)*;base64,")
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_HTML_SUFFIXES = (".html", ".htm", ".xhtml")

_Decode = Callable[[], Fetched]


@dataclass(frozen=True)
class _Attachment:
    """A file in a request.

    Parameters:
        param: the path of its part.
        url: its address; ``None`` where the request has its content.
        decode: returns its content, in that case. It may take a while.
        name: what the client calls it.
        put: puts what a dialect reads into the request: a data URL for an image, the text of a document.
    """

    param: str
    put: Callable[[str], object]
    is_document: bool
    url: str | None = None
    decode: _Decode | None = None
    name: str = ""


async def resolve_attachments(host: Host, body: object, fields: Sequence[str]) -> None:
    """Put data URLs in the place of the ``http`` addresses of images, and text in the place of documents.

    Parameters:
        body: the request.
        fields: those of its fields that hold messages.

    Raises:
        InvalidRequestError: a file cannot be fetched or read, or none is to be; ``data["param"]`` is its path.
    """
    found = [each for name in fields for each in _attachments(getattr(body, name), name, MAX_DEPTH)]
    documents = [each for each in found if each.is_document]
    if len(documents) > MAX_DOCUMENTS:
        raise wrong(documents[MAX_DOCUMENTS].param, f"at most {MAX_DOCUMENTS} documents are read for a request")
    fetched = await _fetched(host, [each for each in found if each.url is not None])
    texts: dict[tuple[str, bytes], str] = {}
    for each in found:
        file = fetched[each.url] if each.url is not None else await asyncio.to_thread(cast("_Decode", each.decode))
        if not each.is_document:
            each.put(_data_url(file.data, each.param))
            continue
        name = _name(each, file)
        if (name, file.data) not in texts:
            texts[name, file.data] = await _text(host, name, file, each.param)
        each.put(f"File {each.name or name}:\n\n{texts[name, file.data]}")


def as_given(part: Any) -> Any:
    """Return a part of a message as a model is given it: an image as its data, a document as its text."""
    match part:
        case {"type": "input_file"} if isinstance(text := part.get(_CONTENT), str):
            return {"type": "input_text", "text": text}
        case {"type": "input_image"} if isinstance(data_url := part.get(_CONTENT), str):
            return {**as_sent(part), "image_url": data_url}
        case _:
            return part


def as_sent(value: Any) -> Any:
    """Return an item, or anything in one, as it was sent."""
    if isinstance(value, list):
        return [as_sent(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: as_sent(each) for key, each in cast("dict[str, Any]", value).items() if key != _CONTENT}
    return value


async def _fetched(host: Host, remote: Sequence[_Attachment]) -> dict[str, Fetched]:
    """Return the files at the addresses of a request."""
    if not remote:
        return {}
    settings = host.settings.current().server
    if settings.fetch_urls == "never":
        kind = "documents" if remote[0].is_document else "images"
        raise wrong(
            remote[0].param,
            f"this server does not fetch {kind} by their addresses",
            'Send its content in base64, or set server.fetch_urls to "public" in config.toml.',
        )
    places: dict[str, _Attachment] = {}
    for each in remote:
        places.setdefault(cast("str", each.url), each)
    try:
        found = await fetch_files(list(places), settings.fetch_urls, settings.max_body_bytes)
    except FilesError as error:
        place = places[str(error.data["url"])]
        raise _refusal(place.param, error, is_document=place.is_document) from None
    return dict(zip(places, found, strict=True))


def _data_url(data: bytes, param: str) -> str:
    form = image_format(data)
    if form is None:
        raise _refusal(param, FilesError("The content at its address is not an image"), is_document=False)
    return f"data:image/{form.lower().replace(' ', '-')};base64,{base64.b64encode(data).decode()}"


async def _text(host: Host, name: str, file: Fetched, param: str) -> str:
    """Return the text of a document."""
    suffix = PurePath(name).suffix.lower()
    stored = name if suffix in _HTML_SUFFIXES or file.media_type not in _HTML_TYPES else f"{name}.html"
    try:
        text = (await host.documents.read_unkept(stored, file.data)).content
    except (FilesError, UnsupportedError) as error:
        raise _refusal(param, error, is_document=True) from None
    if not text.strip():
        cause = "Pages that are pictures, scanned ones for example, have none."
        suggestion = "Send the pages as images, to a model that sees."
        error = FilesError(f"The file {name!r} has no text", cause=cause, suggestion=suggestion)
        raise _refusal(param, error, is_document=True)
    return text


def _name(attachment: _Attachment, file: Fetched) -> str:
    """Return what a document is called: by the client, by its address, or by its type."""
    if attachment.name:
        return attachment.name
    if attachment.url is not None and (last := PurePosixPath(unquote(urlsplit(attachment.url).path)).name):
        return last
    return "document.pdf" if file.data.startswith(b"%PDF-") else "document"


def _refusal(param: str, error: StudioloError, *, is_document: bool) -> InvalidRequestError:
    return InvalidRequestError(
        f"{param}: {error.title[0].lower()}{error.title[1:]}",
        cause=error.cause,
        suggestion=error.suggestion,
        data={"param": param, "code": "invalid_file" if is_document else "invalid_image_url"},
    )


def _attachments(value: Any, place: str, depth: int) -> Iterator[_Attachment]:
    """Yield the files of a field. An assistant's messages have none."""
    if depth == 0:
        return
    if isinstance(value, list):
        for index, each in enumerate(cast("list[Any]", value)):
            yield from _attachments(each, f"{place}.{index}", depth - 1)
    elif isinstance(value, dict):
        part = cast("dict[str, Any]", value)
        if part.get("role") in ("assistant", "system", "developer"):
            return
        found = _document(part, place) or _remote_image(part, place)
        if found is not None:
            yield found
            return
        for name in _INNER:
            if isinstance(part.get(name), dict | list):
                yield from _attachments(part[name], f"{place}.{name}", depth - 1)


def _remote_image(part: dict[str, Any], place: str) -> _Attachment | None:
    """Return the image of a part that has its address: in OpenAI's, Anthropic's and LM Studio's shapes."""
    replaced: str | None = None
    match part:
        case {"type": "image_url" | "input_image", "image_url": dict()}:
            holder, key = part["image_url"], "url"
        case {"type": "input_image", "image_url": str()}:
            holder, key, replaced = part, "image_url", _CONTENT
        case {"type": "image_url", "image_url": str()}:
            holder, key = part, "image_url"
        case {"type": "image", "source": {"type": "url"}}:
            holder, key = part["source"], "url"
        case {"type": "image", "data_url": str()}:
            holder, key = part, "data_url"
        case _:
            return None
    url = holder.get(key)
    if not _is_remote(url):
        return None
    return _Attachment(place, lambda data_url: holder.update({replaced or key: data_url}), is_document=False, url=url)


def _document(part: dict[str, Any], place: str) -> _Attachment | None:
    """Return the document of a part: in the shapes of OpenAI's chats and responses, and of Anthropic's messages."""
    match part:
        case {"type": "file", "file": dict()}:
            file = cast("dict[str, Any]", part["file"])

            def put_in_place(text: str) -> None:
                part.clear()
                part.update(type="text", text=text)

            return _openai_document(file, f"{place}.file", put_in_place)
        case {"type": "input_file"}:
            return _openai_document(part, place, lambda text: part.update({_CONTENT: text}))
        case {"type": "document", "source": {"type": "base64" | "url"}}:
            source = cast("dict[str, Any]", part["source"])
            title = part.get("title")
            name = title if isinstance(title, str) else ""

            def put(text: str) -> None:
                part["source"] = {"type": "text", "media_type": "text/plain", "data": text}

            if source["type"] == "url":
                return _remote_document(source.get("url"), f"{place}.source.url", put, name)
            decode = _decoder(source.get("data"), f"{place}.source.data", source.get("media_type"))
            return _Attachment(place, put, is_document=True, decode=decode, name=name)
        case _:
            return None


def _openai_document(file: dict[str, Any], place: str, put: Callable[[str], object]) -> _Attachment:
    name = file.get("filename")
    if name is not None and not isinstance(name, str):
        raise wrong(f"{place}.filename", "expected a string")
    if file.get("file_id") is not None:
        raise wrong(f"{place}.file_id", "there are no stored files here", "Send file_data, or a file_url.")
    url, data = file.get("file_url"), file.get("file_data")
    if (url is None) == (data is None):
        raise wrong(place, "expected either file_data or file_url")

    if url is not None:
        return _remote_document(url, f"{place}.file_url", put, name or "")
    decode = _decoder(data, f"{place}.file_data", None)
    return _Attachment(place, put, is_document=True, decode=decode, name=name or "")


def _remote_document(url: Any, param: str, put: Callable[[str], object], name: str) -> _Attachment:
    if not _is_remote(url):
        raise wrong(param, "expected an address that begins with http:// or https://")
    return _Attachment(param, put, is_document=True, url=url, name=name)


def _decoder(data: Any, param: str, media_type: Any) -> _Decode:
    """Return a function that returns a document that the request has in base64, or as a data URL."""
    if not isinstance(data, str):
        raise wrong(param, "missing" if data is None else "expected a string")
    header = _DATA_URL.match(data[:500])
    encoded = data[header.end() :] if header else data
    kind = header["type"] if header else media_type

    def decode() -> Fetched:
        try:
            content = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise wrong(param, f"it is not base64: {error}", "Send base64, or a data URL with base64.") from None
        return Fetched(content, kind.lower() if isinstance(kind, str) else "")

    return decode


def _is_remote(value: Any) -> bool:
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))
