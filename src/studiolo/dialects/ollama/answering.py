"""Answers of ``/api/generate`` and ``/api/chat``, whole and streamed, from the same pieces."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ...config import PredictionConfig
from ...domain.generation import TokenLogProbs
from ...errors import PredictionError
from ...host.instance import Instance
from ...host.names import derived
from ...host.on_demand import LoadRequest
from ..http.answers import NDJSON, Answer, Streamed, Whole, ndjson
from ..http.endpoint import Call
from ..http.forms import likeliest, rfc3339, token_entry
from ..http.gathered import AnswerText, CallEnded, Event, Gathered, Piece, Thought
from ..http.generation import Prompt, blaming, events_of, fits, gathered, patience_sec
from .asking import ANSWERS_OF_CONTEXT, Asking
from .errors import failure_line
from .keep_alive import keep

CUT_OFF = ("max_tokens", "context_full", "time_limit")
"""Stop reasons of answers that are not complete."""

Form = Callable[[str, str, list[dict[str, Any]]], dict[str, Any]]
"""Returns the members of an answer for its text, its reasoning and its calls of tools."""


@dataclass
class Asked:
    """A request for an answer.

    Parameters:
        name: the model's, as the host knows it; the body has it as it was sent.
        form: the form of the answer.
        param: the field of the request with the prompt.
    """

    call: Call[Any]
    body: Asking
    name: str
    prompt: Prompt
    config: PredictionConfig
    load: LoadRequest
    form: Form
    param: str
    began: float = field(default_factory=time.perf_counter)
    load_sec: float = 0.0

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events of the answer."""
        keep_sec, allowed = self.body.keep_sec, self.config

        def config(instance: Instance) -> PredictionConfig:
            self.load_sec = time.perf_counter() - self.began
            keep(instance, keep_sec)
            if not allowed.max_tokens and not (allowed.max_tokens is None and self._has_limit(instance)):
                allowed.max_tokens = ANSWERS_OF_CONTEXT * instance.context_length or None
            return allowed

        with blaming(self.param, structured="format", raw_tools="tools", reasoning_effort="think"):
            events = events_of(self.call, self.name, self.prompt, config, self.load)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield event

    def _has_limit(self, instance: Instance) -> bool:
        """Return whether the model's own settings limit its answers."""
        host = self.call.host
        own = derived(host, self.name)
        return bool(host.base_prediction_config(instance).max_tokens or (own and own.prediction.max_tokens))


async def answer(asked: Asked) -> Answer:
    """Answer a request, whole or in pieces."""
    if asked.body.stream:
        patience = await patience_sec(asked.call, asked.name)
        return Streamed(_lines(asked), NDJSON, failure_line, patience_sec=patience)
    found = await gathered(asked.events())
    check_calls(found)
    calls = [_call(index, each.id, each.call) for index, each in enumerate(found.calls) if each.call]
    body = {
        **head(asked.body.model),
        **asked.form(found.text, found.reasoning, calls),
        **_end(asked, found),
    }
    if asked.body.logprobs:
        body["logprobs"] = _logprobs(found.logprobs, asked.body.top)
    return Whole(body)


async def _lines(asked: Asked) -> AsyncGenerator[bytes, None]:
    found = Gathered()
    known_to_fit = False
    async with contextlib.aclosing(asked.events()) as events:
        async for event in events:
            if not known_to_fit and fits(event):
                known_to_fit = True
                yield b""
            for piece in found.add(event):
                if (members := _members(asked, piece)) is not None:
                    yield ndjson({**head(asked.body.model), **members, "done": False})
    check_calls(found)
    yield ndjson({**head(asked.body.model), **asked.form("", "", []), **_end(asked, found)})


def _members(asked: Asked, piece: Piece) -> dict[str, Any] | None:
    match piece:
        case AnswerText(text, logprobs) if text or logprobs:
            members = asked.form(text, "", [])
            if asked.body.logprobs:
                members["logprobs"] = _logprobs(logprobs, asked.body.top)
            return members
        case Thought(text):
            return asked.form("", text, [])
        case CallEnded(number, call) if call.call is not None:
            return asked.form("", "", [_call(number, call.id, call.call)])
        case _:
            return None


def head(model: str) -> dict[str, Any]:
    """Return the members that every answer begins with."""
    return {"model": model, "created_at": now()}


def now() -> str:
    """Return the time as RFC 3339 has it."""
    return timestamp(time.time())


def timestamp(seconds: float) -> str:
    """Return a time, in seconds since 1970, as RFC 3339 has it."""
    return rfc3339(seconds, "microseconds")


def nanoseconds(seconds: float) -> int:
    """Return a duration as Ollama counts it."""
    return max(round(seconds * 1e9), 0)


def check_calls(found: Gathered) -> None:
    """Raise :class:`PredictionError` for a call of a tool that is complete and malformed."""
    if found.end.stop_reason in CUT_OFF:
        return
    for call in found.calls:
        if call.call is None:
            raise PredictionError(f"error parsing tool call: {call.name} with {call.arguments[:200]!r}")


def _end(asked: Asked, found: Gathered) -> dict[str, Any]:
    result = found.end
    timings, usage = result.timings, result.usage
    waited = timings.load_sec or 0.0
    prompt_sec = timings.prompt_sec
    if prompt_sec is None:
        prompt_sec = max((timings.first_token_sec or timings.total_sec) - waited, 0.0)
    decode_sec = timings.decode_sec
    if decode_sec is None:
        decode_sec = max(timings.total_sec - (timings.first_token_sec or timings.total_sec), 0.0)
    parts = [nanoseconds(each) for each in (asked.load_sec, prompt_sec, decode_sec)]
    total = max(nanoseconds(time.perf_counter() - asked.began), sum(parts))
    return {
        "done": True,
        "done_reason": "length" if result.stop_reason in CUT_OFF else "stop",
        "total_duration": total,
        "load_duration": parts[0],
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_cached_count": usage.cached_prompt_tokens,
        "prompt_eval_duration": parts[1],
        "eval_count": usage.predicted_tokens,
        "eval_duration": parts[2],
    }


def _call(index: int, call_id: str, call: Any) -> dict[str, Any]:
    return {"id": call_id, "function": {"index": index, "name": call.name, "arguments": call.arguments or {}}}


def _logprobs(tokens: Iterable[TokenLogProbs], top: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in tokens:
        entry = token_entry(each.token)
        if top:
            entry["top_logprobs"] = [token_entry(one) for one in likeliest(each, top)]
        found.append(entry)
    return found
