"""Threads: conversations that the server keeps under the ids of its answers, so that a request has only what is new."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...errors import InvalidRequestError, StoredItemNotFoundError
from ...store.store import MAX_BODY_BYTES
from ...struct_types import examined
from ..http.endpoint import Call
from ..http.fields import wrong
from .request import MessagesBody
from .tools import ToolEntry

KIND = "thread"
"""Of the records in the store."""

DETAILS = "details"
"""The member of an error, and of its data, by which clients know what to send instead."""


class _Kept(Struct):
    """A conversation, up to the answer under whose id it is kept."""

    system: Any
    tools: list[ToolEntry] | None
    messages: list[Any]


async def whole(call: Call[MessagesBody]) -> Call[MessagesBody]:
    """Return a request with the whole conversation in it.

    Raises:
        StoredItemNotFoundError: the answer that it continues is not kept.
        InvalidRequestError: it changes what belongs to the thread, or the thread is too large to be kept.
    """
    body = call.body
    if body.thread is None:
        return call
    if body.thread.type == "continue":
        kept = await _find(call, body.thread.previous_message_id)
        for name in ("system", "tools"):
            if getattr(body, name) is not None:
                raise wrong(name, "it is the thread's", "Leave it out, or create another thread.")
        body = replace(body, system=kept.system, tools=kept.tools, messages=[*kept.messages, *body.messages])
    if len(_encoded(body, ())) > MAX_BODY_BYTES // 2:
        raise InvalidRequestError(
            "thread: the conversation is too large to be kept",
            suggestion="Send the whole conversation, without thread.",
            data={"param": "thread", DETAILS: {"error_code": "thread_unsupported_request"}},
        )
    return dataclasses.replace(call, body=body)


async def keep(call: Call[MessagesBody], message_id: str, content: Sequence[dict[str, Any]]) -> None:
    """Keep a conversation with its answer, if it is a thread.

    Parameters:
        content: the blocks of the answer.
    """
    if call.body.thread is not None:
        await call.store.put(KIND, call.owner, message_id, _encoded(call.body, content))


def _encoded(body: MessagesBody, content: Sequence[dict[str, Any]]) -> bytes:
    messages = [*body.messages, {"role": "assistant", "content": content}]
    return msgspec.json.encode(_Kept(body.system, body.tools, messages))


async def _find(call: Call[MessagesBody], message_id: str | None) -> _Kept:
    if message_id is None:
        raise wrong("thread.previous_message_id", "missing")
    record = await call.store.get(KIND, call.owner, message_id)
    if record is None:
        raise StoredItemNotFoundError(
            f"thread.previous_message_id: there is no thread with the message {message_id!r}",
            suggestion="Send the whole conversation, and create a thread.",
            data={"param": "thread.previous_message_id", DETAILS: {"error_code": "thread_not_found"}},
        )
    return msgspec.json.decode(record.body, type=examined(_Kept))
