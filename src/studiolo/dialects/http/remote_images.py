"""Images in a request that are named by their addresses: fetched by the host before the request is looked at."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, cast

from ...errors import FilesError, InvalidRequestError
from ...host.fetching import fetch_images
from ...host.files import image_format
from ...host.host import Host
from .fields import wrong

_INNER = ("content", "output", "source")
"""Members of messages and parts that hold further parts. Others, such as the input of a tool, are data."""

MAX_DEPTH = 16
"""How deep a part may lie in a field."""

Slot = tuple[str, dict[str, Any], str]
"""The path of a part, and where its address is: an object and a key of it."""


async def fetch_remote_images(host: Host, body: object, fields: Sequence[str]) -> None:
    """Put data URLs in the place of the ``http`` addresses of images.

    Parameters:
        body: the request.
        fields: those of its fields that hold messages.

    Raises:
        InvalidRequestError: an image cannot be fetched, or none is to be; ``data["param"]`` is its path.
    """
    slots = [slot for name in fields for slot in _slots(getattr(body, name), name, MAX_DEPTH)]
    if not slots:
        return
    settings = host.settings.current().server
    if settings.fetch_urls == "never":
        raise wrong(
            slots[0][0],
            "this server does not fetch images by their addresses",
            'Send a data URL in base64, or set server.fetch_urls to "public" in config.toml.',
        )
    places: dict[str, list[Slot]] = {}
    for slot in slots:
        places.setdefault(slot[1][slot[2]], []).append(slot)
    try:
        found = await fetch_images(list(places), settings.fetch_urls, settings.max_body_bytes)
    except FilesError as error:
        param = places[str(error.data["url"])][0][0]
        raise InvalidRequestError(
            f"{param}: {error.title[0].lower()}{error.title[1:]}",
            suggestion=error.suggestion,
            data={"param": param, "code": "invalid_image_url"},
        ) from None
    for same, data in zip(places.values(), found, strict=True):
        kind = (image_format(data) or "png").lower()
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        for _, holder, key in same:
            holder[key] = url


def _slots(value: Any, place: str, depth: int) -> Iterator[Slot]:
    """Yield where the addresses of images are."""
    if depth == 0:
        return
    if isinstance(value, list):
        for index, each in enumerate(cast("list[Any]", value)):
            yield from _slots(each, f"{place}.{index}", depth - 1)
    elif isinstance(value, dict):
        part = cast("dict[str, Any]", value)
        holder, key = _holder(part)
        if holder is not None and _is_remote(holder.get(key)):
            yield place, holder, key
        for name in _INNER:
            if isinstance(part.get(name), dict | list):
                yield from _slots(part[name], f"{place}.{name}", depth - 1)


def _holder(part: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Return where a part has the address of an image: in OpenAI's, Anthropic's and LM Studio's shapes."""
    match part:
        case {"type": "image_url" | "input_image", "image_url": dict()}:
            return part["image_url"], "url"
        case {"type": "image_url" | "input_image", "image_url": str()}:
            return part, "image_url"
        case {"type": "image", "source": {"type": "url"}}:
            return part["source"], "url"
        case {"type": "image", "data_url": str()}:
            return part, "data_url"
        case _:
            return None, ""


def _is_remote(value: Any) -> bool:
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))
