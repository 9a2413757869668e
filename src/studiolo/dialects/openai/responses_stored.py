"""Stored responses: retrieve, delete, cancel, and list the items of their input."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from ...errors import InvalidRequestError, StoredItemNotFoundError
from ..http.answers import Answer, Whole
from ..http.attachments import as_sent
from ..http.endpoint import Call
from ..http.fields import wrong
from .pages import read_page
from .responses import KIND, Growing, find, job_key
from .responses_answer import Stored
from .responses_record import Record, starting_after, wants_stream


class Deleted(Struct):
    """A response that is no longer stored."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


async def get_response(call: Call[None]) -> Answer:
    """Return a stored response, or the events of one that was streamed in the background."""
    found = await _under_way_or_stored(call)
    if wants_stream(call.query):
        after = starting_after(call.query)
        kept = Record(found.events) if isinstance(found, Stored) and found.events is not None else None
        record = found.record if isinstance(found, Growing) else kept
        if record is None:
            raise wrong("stream", "the response was not streamed in the background", "Leave stream out.")
        return record.streamed(after)
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
    """Return the items of which a response was made, as they were sent, with those of the responses before it."""
    page = read_page(call.query, "desc")
    return Whole(page.of(as_sent((await _stored(call)).input)))


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
