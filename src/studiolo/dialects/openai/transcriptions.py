"""Transcriptions: ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...config import PredictionConfig
from ...domain.chat import Audio, ChatRequest
from ...host.media import check_sense
from ...host.transcription import transcription_chat
from ..http.answers import SSE, SSE_COMMENT, Answer, Streamed, Whole, sse
from ..http.endpoint import Call
from ..http.fields import Field, honoured, refused, wrong
from ..http.gathered import AnswerText, Event, Gathered
from ..http.generation import blaming, gathered, patience_sec, predicting
from ..http.models import known_model
from .chat import failure_frame

FORMATS = ("json", "text")


class TranscriptionBody(Struct, kw_only=True):
    """The form of a request for the text of an audio file."""

    model: Annotated[str, Meta(min_length=1)]
    file: Any
    language: str = ""
    prompt: str = ""
    response_format: str = "json"
    stream: bool = False
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0


FIELDS: dict[str, Field] = {
    "model": honoured("The key of a model with audio input, or an alias; one that does not exist is a 404."),
    "file": honoured("The audio file: WAV, MP3 or FLAC, of an hour at most.", whole=True),
    "language": honoured("Put into the instruction to the model."),
    "prompt": honoured("Stands in place of the instruction to the model."),
    "response_format": honoured("json or text; the others need the times of words, which models here do not say."),
    "stream": honoured("The text in pieces, as server-sent events; not with text."),
    "temperature": honoured("0, the default, for the likeliest token; higher for more variety."),
    "chunking_strategy": refused("The audio is one block: send it in parts.", "auto"),
    "include": refused("Log-probabilities are not returned here: use chat completions.", []),
    "keywords": refused("Put them into the prompt."),
    "known_speaker_names": refused("Models here do not say who speaks."),
    "known_speaker_references": refused("Models here do not say who speaks."),
    "languages": refused("Use language for one."),
    "timestamp_granularities": refused("Models here do not say the times of words.", []),
}


class TokenUsage(Struct):
    """The tokens of a transcription."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    type: Literal["tokens"] = "tokens"


class Transcription(Struct):
    """The text of an audio file."""

    text: str
    usage: TokenUsage


async def transcribe(call: Call[TranscriptionBody]) -> Answer:
    """Return the text of an audio file, as a model with audio input writes it."""
    body = call.body
    if not isinstance(body.file, bytes) or not body.file:
        raise wrong("file", "expected an audio file", "Send it as a part of the form with a filename.")
    if body.response_format not in FORMATS:
        raise wrong("response_format", f"{body.response_format!r} is none of {', '.join(FORMATS)}")
    if body.stream and body.response_format == "text":
        raise wrong("response_format", "text is not possible in a stream", "Use json.")
    model = await known_model(call, body.model)
    with blaming("file", audio="model"):
        check_sense(model, "audio", "file")
    template = (model.metadata and model.metadata.chat_template) or ""
    events = _events(call, transcription_chat(template, Audio(body.file, "file"), body.prompt, body.language))
    if body.stream:
        patience = await patience_sec(call, body.model)
        return Streamed(_frames(events), SSE, failure_frame, keep_alive=SSE_COMMENT, patience_sec=patience)
    found = _whole(await gathered(events))
    return Whole(found) if body.response_format == "json" else Whole(found.text.encode(), media_type=_TEXT)


_TEXT = "text/plain; charset=utf-8"


async def _events(call: Call[TranscriptionBody], chat: ChatRequest) -> AsyncGenerator[Event, None]:
    config = PredictionConfig(temperature=call.body.temperature)
    with blaming("file", audio="model"):
        async with predicting(call, call.body.model, chat, config) as run:
            with run.instance.totals.requests["transcription"].counted():
                async for event in run.events:
                    yield event


def _whole(answer: Gathered) -> Transcription:
    used = answer.end.usage
    tokens = TokenUsage(used.prompt_tokens, used.predicted_tokens, used.prompt_tokens + used.predicted_tokens)
    return Transcription(answer.text, tokens)


async def _frames(events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    answer = Gathered()
    async with contextlib.aclosing(events):
        async for event in events:
            for piece in answer.add(event):
                if isinstance(piece, AnswerText) and piece.text:
                    yield sse({"type": "transcript.text.delta", "delta": piece.text})
    found = _whole(answer)
    yield sse({"type": "transcript.text.done", "text": found.text, "usage": found.usage})
