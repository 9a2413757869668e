"""Compaction: ``POST /v1/responses/compact`` replaces a long input by a summary that the model writes."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...config import PredictionConfig
from ...domain.chat import ChatRequest, Message, Text
from ..http.answers import Answer, Whole
from ..http.chats import SUMMARY_ORDER
from ..http.endpoint import Call
from ..http.fields import Field, ignored, refused, wrong
from ..http.generation import blaming, events_of, gathered
from .responses import input_items
from .responses_answer import ResponseUsage, usage_of
from .responses_input import messages_of
from .responses_items import Ids, sealed
from .responses_request import FIELDS as RESPONSE_FIELDS

MAX_SUMMARY_TOKENS = 1024


class CompactBody(Struct, kw_only=True):
    """The body of a request to compact an input."""

    model: Annotated[str, Meta(min_length=1)]
    input: Any = None
    instructions: str | None = None
    previous_response_id: str | None = None


COMPACT_FIELDS: dict[str, Field] = {
    **{name: RESPONSE_FIELDS[name] for name in ("model", "input", "instructions", "previous_response_id")},
    "image": refused("No model here paints."),
    "prompt_cache_key": RESPONSE_FIELDS["prompt_cache_key"],
    "prompt_cache_options": RESPONSE_FIELDS["prompt_cache_options"],
    "prompt_cache_retention": RESPONSE_FIELDS["prompt_cache_retention"],
    "service_tier": ignored("There is one tier."),
}


class CompactionItem(Struct, kw_only=True, tag="compaction", tag_field="type"):
    """The summary, which stands for all items before it."""

    id: str
    encrypted_content: str


class Compaction(Struct, kw_only=True):
    """A compacted input."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[CompactionItem]
    usage: ResponseUsage


async def compact(call: Call[CompactBody]) -> Answer:
    """Return one item that stands for an input."""
    body = call.body
    ids = Ids()
    messages = messages_of(await input_items(call, ids))
    if not messages:
        raise wrong("input", "missing" if body.input is None else "expected at least one message")
    if body.instructions:
        messages.insert(0, Message("system", [Text(body.instructions)]))
    chat = ChatRequest(messages=[*messages, Message("user", [Text(SUMMARY_ORDER)])])
    config = PredictionConfig(max_tokens=MAX_SUMMARY_TOKENS)
    with blaming("input"):
        answer = await gathered(events_of(call, body.model, chat, config))
    item = CompactionItem(id=ids.item("compaction"), encrypted_content=sealed(answer.text.strip() or "Nothing."))
    return Whole(Compaction(id=ids.response, created_at=int(time.time()), output=[item], usage=usage_of(answer)))
