"""The images of stored messages, for the browser: as files, because they may be large."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from nicegui import app

from ...domain.chat import Image
from ...errors import StoredItemNotFoundError
from ...page_contract import OWNER, PREFIX
from ...store.conversation import ConversationPart
from .live import open_conversation

_PATH = "/image/{conversation_id}/{message_id}/{place}"


def image_address(conversation_id: str, message_id: str, place: int) -> str:
    """Return the address of an image: the part at ``place`` of a message."""
    return PREFIX + _PATH.format(conversation_id=conversation_id, message_id=message_id, place=place)


def add_image_route() -> None:
    """Let the pages answer at these addresses."""
    routes: Any = app
    routes.get(_PATH)(_image)


async def _image(request: Request, conversation_id: str, message_id: str, place: int) -> Response:
    """Return an image of a conversation of the session's owner."""
    try:
        live = await open_conversation(request.scope[OWNER], conversation_id)
    except StoredItemNotFoundError:
        return Response(status_code=404)
    nothing: list[ConversationPart] = []
    parts = next((each.parts for each in live.tree.all() if each.id == message_id), nothing)
    part = parts[place] if 0 <= place < len(parts) else None
    if not isinstance(part, Image):
        return Response(status_code=404)
    headers = {"cache-control": "private, max-age=86400, immutable"}
    return Response(part.data, media_type=_kind(part.data), headers=headers)


def _kind(data: bytes) -> str:
    """Return the media type of an image that the host has accepted."""
    for start, kind in ((b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"RIFF", "webp")):
        if data.startswith(start):
            return f"image/{kind}"
    return "image/jpeg"
