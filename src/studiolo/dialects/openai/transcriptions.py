"""Transcriptions: ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from ...errors import UnsupportedError
from ..http.answers import Answer
from ..http.endpoint import Call
from ..http.fields import Field, honoured, ignored, wrong
from ..http.models import known_model

_NO_EFFECT = "No model here takes audio: the request fails before it could have an effect."


class TranscriptionBody(Struct, kw_only=True):
    """The form of a request for the text of an audio file."""

    model: Annotated[str, Meta(min_length=1)]
    file: Any


FIELDS: dict[str, Field] = {
    "model": honoured("The key of a model, or an alias; one that does not exist is an error of status 404."),
    "file": honoured("The audio file. No model here takes audio, and the error of status 400 says so.", whole=True),
    **{
        name: ignored(_NO_EFFECT)
        for name in (
            "chunking_strategy",
            "include",
            "keywords",
            "known_speaker_names",
            "known_speaker_references",
            "language",
            "languages",
            "prompt",
            "response_format",
            "stream",
            "temperature",
            "timestamp_granularities",
        )
    },
}


async def transcribe(call: Call[TranscriptionBody]) -> Answer:
    """Refuse to transcribe: models with audio input cannot be used yet."""
    if not isinstance(call.body.file, bytes) or not call.body.file:
        raise wrong("file", "expected an audio file", "Send it as a part of the form with a filename.")
    model = await known_model(call, call.body.model)
    raise UnsupportedError(
        f"The model {model.key} takes no audio",
        cause="No model takes audio here: models are given text and images.",
        suggestion="Transcribe with another program, and send the text.",
        feature="audio",
        data={"param": "model"},
    )
