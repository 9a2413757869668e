"""Bodies that carry files: ``multipart/form-data`` (RFC 7578)."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import collapse_rfc2231_value
from typing import Any, cast

from ...errors import InvalidRequestError

MAX_PARTS = 64
"""Parts of a body at most: fields, and files."""

MAX_HEAD_BYTES = 8192
"""Bytes of the headers of a part at most."""


def read_form(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the fields of a form: text, the bytes of a file, a list (``name[]``) or an object (``name[key]``) of them.

    Raises:
        InvalidRequestError: it is no form, or it is damaged.
    """
    head = Message()
    head["content-type"] = content_type.replace("\r", "").replace("\n", "")
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise InvalidRequestError(
            "The body is no form",
            cause=f"Its content type is {content_type[:80] or 'absent'}.",
            suggestion="Send multipart/form-data, with a boundary.",
        )
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(errors="replace"), MAX_PARTS + 2)
    if len(parts) > MAX_PARTS + 1:
        raise _damaged(f"It has more than {MAX_PARTS} parts.")
    if not parts or not parts[-1].startswith(b"--"):
        raise _damaged("Its end is missing.")
    fields: dict[str, Any] = {}
    for part in parts[:-1]:
        _add(fields, part)
    return fields


def _add(fields: dict[str, Any], part: bytes) -> None:
    head, blank, data = part.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > MAX_HEAD_BYTES:
        raise _damaged("A part of it has no headers, or endless ones.")
    message = BytesHeaderParser().parsebytes(head.removeprefix(b"\r\n"))
    name = message.get_param("name", header="content-disposition")
    if not name:
        raise _damaged("A part of it has no name.")
    name = collapse_rfc2231_value(name)
    try:
        value = data.decode() if message.get_filename() is None else data
    except UnicodeDecodeError:
        raise _damaged(f"The field {name[:80]} is not in UTF-8.") from None
    base, bracket, key = name.partition("[")
    held = fields.setdefault(base, [] if key == "]" else {}) if bracket else None
    match held:
        case list():
            cast("list[Any]", held).append(value)
        case dict():
            cast("dict[str, Any]", held)[key.removesuffix("]")] = value
        case None:
            fields[name] = value
        case _:
            raise _damaged(f"The field {base[:80]} is in it as one value and as several.")


def _damaged(cause: str) -> InvalidRequestError:
    return InvalidRequestError("The body is not a form that can be read", cause=cause)
