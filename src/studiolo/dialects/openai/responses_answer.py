"""A response in the form of OpenAI's Responses API, and what is stored of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ...errors import BusyError, StudioloError
from ...struct_types import examined
from ..http.gathered import Gathered
from .responses_items import Ids, Item
from .responses_request import ResponseBody, TextFormat
from .responses_tools import Offered
from .usage import finish_reason

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class InputDetails(Struct):
    """Of the tokens of the input, those that were in the engine's cache, and those that are there now."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Struct):
    """Of the tokens of the output, those of reasoning."""

    reasoning_tokens: int


class ResponseUsage(Struct):
    """The tokens of a response."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(Struct):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseError(Struct):
    """Why a response has failed."""

    code: str
    message: str


class Response(Struct, kw_only=True):
    """A response."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus
    background: bool = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None = None
    metadata: dict[str, str]
    model: str
    output: list[Item]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, Any]
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    user: None = None


def begun(body: ResponseBody, ids: Ids, offered: Offered) -> Response:
    """Return a response of which nothing is known yet but the request."""
    limit = body.max_output_tokens
    return Response(
        id=ids.response,
        created_at=int(time.time()),
        status="queued" if body.background else "in_progress",
        background=body.background,
        instructions=body.instructions,
        max_output_tokens=None if limit == -1 else limit,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        model=body.model,
        output=[],
        parallel_tool_calls=body.parallel_tool_calls,
        previous_response_id=body.previous_response_id,
        reasoning={"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        store=body.store,
        temperature=body.temperature,
        text={"format": _format(body.text.format if body.text else None)},
        tool_choice=body.tool_choice or "auto",
        tools=offered.declared,
        top_logprobs=body.top_logprobs or 0,
        top_p=body.top_p,
        truncation=body.truncation,
    )


def _format(form: TextFormat | None) -> dict[str, Any]:
    if form is None or form.type != "json_schema":
        return {"type": form.type if form else "text"}
    return {"type": form.type, "name": form.name, "schema": form.schema, "strict": True}


def usage_of(answer: Gathered) -> ResponseUsage:
    """Return the tokens of an answer."""
    end = answer.end.usage
    cached = end.cached_prompt_tokens
    return ResponseUsage(
        end.prompt_tokens,
        InputDetails(cached, end.prompt_tokens - cached),
        end.predicted_tokens,
        OutputDetails(answer.reasoning_tokens),
        end.prompt_tokens + end.predicted_tokens,
    )


def finish(response: Response, answer: Gathered) -> None:
    """Enter how an answer ended."""
    response.usage = usage_of(answer)
    if finish_reason(answer) == "length":
        response.status = "incomplete"
        response.incomplete_details = IncompleteDetails("max_output_tokens")
    else:
        response.status = "completed"
        response.completed_at = int(time.time())


def fail(response: Response, error: StudioloError) -> None:
    """Enter that a response has failed."""
    code = "invalid_prompt" if error.http_status < 500 else "server_error"
    response.status = "failed"
    response.error = ResponseError("rate_limit_exceeded" if isinstance(error, BusyError) else code, str(error))


class Ending(Struct):
    """What is read of a stored response first: whether it has ended."""

    status: ResponseStatus
    background: bool

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("queued", "in_progress")


class Stored(Struct):
    """A response in the store.

    Parameters:
        response: as it is retrieved.
        input: all items of its prompt, those of the responses that it continues included.
        events: the frames of its stream, of one that was streamed in the background.
    """

    response: msgspec.Raw
    input: list[dict[str, Any]]
    events: list[str] | None = None

    @property
    def ending(self) -> Ending:
        """Whether it has ended."""
        return msgspec.json.decode(self.response, type=examined(Ending))

    def items(self) -> list[dict[str, Any]]:
        """Return the items that a response continues that continues this one."""
        output = msgspec.json.decode(self.response)["output"]
        return [*self.input, *output]

    def find(self, item_id: str) -> dict[str, Any] | None:
        """Return one of its items."""
        return next((item for item in self.items() if item["id"] == item_id), None)


def outline(response: Response) -> Iterator[dict[str, Any]]:
    """Yield the events by which a stream begins."""
    for kind in ("response.created", "response.in_progress"):
        yield {"type": kind, "response": response}
