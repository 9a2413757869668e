"""Stored chat completions: list, retrieve, update and delete them, and read the messages of their chats."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ...errors import StoredItemNotFoundError
from ...store.record import Record
from ...struct_types import examined
from ..http.answers import Answer, Whole
from ..http.attachments import as_sent
from ..http.endpoint import Call
from ..http.fields import Field, honoured
from .chat_answer import ChatCompletion
from .chat_request import ChatBody, Metadata
from .pages import page_of, read_page

KIND = "chat.completion"
"""Of the records in the store."""

SCANNED = 100
"""Records that are read at once."""

_FILTER = re.compile(r"metadata\[(.+)\]")


class UpdateBody(Struct):
    """The body of a request to change a stored completion."""

    metadata: Metadata | None = None


UPDATE_FIELDS: dict[str, Field] = {
    "metadata": honoured("In place of the texts that are kept with the completion.", whole=True)
}


class Deleted(Struct):
    """A completion that is no longer stored."""

    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: Literal[True] = True


class _Stored(Struct):
    """A completion and the messages of its request."""

    completion: dict[str, Any]
    messages: list[Any]


async def keep_chat(call: Call[ChatBody], completion: ChatCompletion) -> None:
    """Store a completion, if that is asked for."""
    if call.body.store:
        stored = {"completion": completion, "messages": call.body.messages}
        await call.store.put(KIND, call.owner, completion.id, msgspec.json.encode(stored))


async def list_chats(call: Call[None]) -> Answer:
    """Return stored completions, of one model or with certain metadata where that is asked for."""
    page = read_page(call.query, "asc")
    found: list[dict[str, Any]] = []
    async for record in _records(call, page.after, newest_first=page.order == "desc"):
        completion = _decoded(record).completion
        if _is_wanted(completion, call.query):
            found.append(completion)
        if len(found) > page.limit:
            break
    return Whole(page_of(found, page.limit))


async def get_chat(call: Call[None]) -> Answer:
    """Return a stored completion."""
    return Whole((await _find(call)).completion)


async def update_chat(call: Call[UpdateBody]) -> Answer:
    """Change the metadata of a stored completion."""
    stored = await _find(call)
    stored.completion["metadata"] = call.body.metadata or {}
    await call.store.put(KIND, call.owner, call.path["completion_id"], msgspec.json.encode(stored))
    return Whole(stored.completion)


async def delete_chat(call: Call[None]) -> Answer:
    """Remove a stored completion."""
    completion_id = call.path["completion_id"]
    if not await call.store.delete(KIND, call.owner, completion_id):
        raise _missing(completion_id)
    return Whole(Deleted(completion_id))


async def list_messages(call: Call[None]) -> Answer:
    """Return the messages of the request of a stored completion."""
    page = read_page(call.query, "asc")
    stored = await _find(call)
    messages = [_message(entry, f"{stored.completion['id']}-{i}") for i, entry in enumerate(stored.messages)]
    return Whole(page.of(messages))


def _message(entry: Any, message_id: str) -> dict[str, Any]:
    message = {"content": None, **as_sent(entry), "id": message_id, "content_parts": None}
    if isinstance(message["content"], list):
        message |= {"content": None, "content_parts": message["content"]}
    return message


async def _records(call: Call[None], after: str | None, *, newest_first: bool) -> AsyncIterator[Record]:
    while True:
        found = await call.store.list(KIND, call.owner, limit=SCANNED, after=after, newest_first=newest_first)
        for record in found:
            yield record
        if len(found) < SCANNED:
            return
        after = found[-1].id


def _is_wanted(completion: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    metadata: dict[str, str] = completion.get("metadata") or {}
    wanted = {match[1]: value for name, value in query.items() if (match := _FILTER.fullmatch(name))}
    return query.get("model", completion["model"]) == completion["model"] and wanted.items() <= metadata.items()


def _decoded(record: Record) -> _Stored:
    return msgspec.json.decode(record.body, type=examined(_Stored))


async def _find(call: Call[Any]) -> _Stored:
    completion_id = call.path["completion_id"]
    record = await call.store.get(KIND, call.owner, completion_id)
    if record is None:
        raise _missing(completion_id)
    return _decoded(record)


def _missing(completion_id: str) -> StoredItemNotFoundError:
    return StoredItemNotFoundError(
        f"Chat completion with id {completion_id!r} not found", data={"param": "completion_id"}
    )
