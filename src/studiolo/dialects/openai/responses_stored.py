"""Stored responses: retrieve, delete, cancel, and list the items of their input."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from ...errors import InvalidRequestError, StoredItemNotFoundError
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import wrong
from .responses import KIND, Growing, find, job_key
from .responses_answer import Stored

MAX_LISTED = 100


class Deleted(Struct):
    """A response that is no longer stored."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemList(Struct, kw_only=True):
    """Items of an input."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


async def get_response(call: Call[None]) -> Answer:
    """Return a stored response."""
    if call.query.get("stream", "false").lower() not in ("false", "0", ""):
        raise wrong("stream", "a stored response is not streamed again", "Leave stream out.")
    found = await _under_way_or_stored(call)
    return Whole(found.response if isinstance(found, Growing) else bytes(found.response))


async def delete_response(call: Call[None]) -> Answer:
    """Remove a stored response. Those that continue it stay whole."""
    response_id = call.path["response_id"]
    await call.host.background.cancel(job_key(call, response_id))
    if not await call.store.delete(KIND, call.owner, response_id):
        raise _missing(response_id)
    return Whole(Deleted(response_id))


async def cancel_response(call: Call[None]) -> Answer:
    """End a response in the background, with what there is of it. One that has ended stays as it is."""
    found = await _under_way_or_stored(call)
    if isinstance(found, Growing):
        await call.host.background.cancel(job_key(call, found.response.id))
        await found.cancelled()
        return Whole(found.response)
    if not found.ending.background:
        raise InvalidRequestError(
            "Only a response in the background can be cancelled",
            suggestion="Close the connection to end one that is under way.",
        )
    return Whole(bytes(found.response))


async def list_input(call: Call[None]) -> Answer:
    """Return the items of which a response was made, those of the responses that it continues included."""
    query = call.query
    order, after, limit = query.get("order", "desc"), query.get("after"), query.get("limit", "20")
    if order not in ("asc", "desc"):
        raise wrong("order", f"{order!r} is none of asc, desc")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= MAX_LISTED):
        raise wrong("limit", f"expected a number from 1 to {MAX_LISTED}")
    items = (await _stored(call)).input
    if order == "desc":
        items = items[::-1]
    if after is not None:
        index = next((i for i, item in enumerate(items) if item["id"] == after), None)
        if index is None:
            raise wrong("after", f"the response has no item {after!r}")
        items = items[index + 1 :]
    data = items[: int(limit)]
    first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
    return Whole(ItemList(data=data, first_id=first, last_id=last, has_more=len(items) > len(data)))


async def _under_way_or_stored(call: Call[None]) -> Growing | Stored:
    """Return a response. One whose server has ended before it was made has failed."""
    key = job_key(call, call.path["response_id"])
    if (job := call.host.background.get(key)) is not None:
        return job.subject
    found = await _stored(call)
    if found.ending.is_open:
        if (job := call.host.background.get(key)) is not None:
            return job.subject
        failed: dict[str, Any] = msgspec.json.decode(found.response)
        failed["status"] = "failed"
        failed["error"] = {"code": "server_error", "message": "The server has ended before the response was made."}
        found.response = msgspec.Raw(msgspec.json.encode(failed))
    return found


async def _stored(call: Call[None]) -> Stored:
    response_id = call.path["response_id"]
    found = await find(call, response_id)
    if found is None:
        raise _missing(response_id)
    return found


def _missing(response_id: str) -> StoredItemNotFoundError:
    return StoredItemNotFoundError(f"Response with id {response_id!r} not found", data={"param": "response_id"})
