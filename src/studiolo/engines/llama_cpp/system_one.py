"""Decision models on llama-server's ``POST /v1/systemone``, the System One wire.

A request has a ``state``, which is text or a chat, and ``questions`` by name: of the type ``choice`` with its options
as the keys of ``criteria``, ``score`` with 2 to 10 levels, or ``noul``, whose answer is the probability of yes.
Source: llama.cpp, tools/server/README.md and tools/server/server-decision.cpp.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from ...domain.chat import Audio, Image, Message
from ...domain.decisions import Question
from ..base import DecisionRequest
from .answers import decode, unreadable

MOST_LEVELS = 10
"""Levels that a question of the type ``score`` has at most; more are choices."""


_PNG = b"\x89PNG"


class _Answer(msgspec.Struct):
    noul: float | None = None
    probabilities: dict[str, float] = msgspec.field(default_factory=dict[str, float])


class _Answers(msgspec.Struct):
    answers: dict[str, _Answer]


def system_one_body(request: DecisionRequest) -> dict[str, Any]:
    """Return the body of a request."""
    media = [part for message in request.messages for part in message.parts if isinstance(part, Image | Audio)]
    return {
        "state": _state(request.messages),
        "questions": {str(index): _question(each) for index, each in enumerate(request.questions)},
        "images": [_data_url(each) for each in media],  # or audio,
    }


def _state(messages: Sequence[Message]) -> Any:
    if all(message.role == "user" for message in messages):
        return "\n\n".join(message.text for message in messages)
    return [{"role": message.role, "content": message.text} for message in messages]


def _is_score(question: Question) -> bool:
    return question.kind == "levels" and len(question.choices) <= MOST_LEVELS


def _question(question: Question) -> dict[str, Any]:
    asked: dict[str, Any] = {"instructions": question.text}
    if question.kind == "truth":
        return {**asked, "type": "noul"}
    if _is_score(question):
        return {**asked, "type": "score", "criteria": [*question.choices]}
    return {**asked, "type": "choice", "criteria": dict.fromkeys(question.choices)}


def _data_url(media: Image | Audio) -> str:
    kind = "audio/wav" if isinstance(media, Audio) else "image/png" if media.data.startswith(_PNG) else "image/jpeg"
    return f"data:{kind};base64,{base64.b64encode(media.data).decode()}"


def system_one_probabilities(body: bytes, questions: Sequence[Question]) -> list[list[float]]:
    """Return the probability of each choice of each question.

    Raises:
        PredictionError: one is missing, or is not a finite number.
    """
    answers = decode("/v1/systemone", body, _Answers).answers
    found: list[list[float]] = []
    for index, question in enumerate(questions):
        answer = answers.get(str(index), _Answer())
        if question.kind == "truth":
            values = [] if answer.noul is None else [answer.noul, 1 - answer.noul]
        else:
            keys = [str(level) for level in range(len(question.choices))] if _is_score(question) else question.choices
            values = [answer.probabilities.get(key, math.nan) for key in keys]
        if not values or not all(math.isfinite(each) for each in values):
            raise unreadable("/v1/systemone", body, f"It has no probability of each choice of question {index}")
        found.append(values)
    return found
