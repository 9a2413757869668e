"""Decisions, an addition of studiolo's: ``POST /v1/decisions``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ...config import PredictionConfig
from ...domain.calibration import Scaling
from ...domain.chat import ChatRequest, Message, Text
from ...domain.decisions import YES_AND_NO, Normalization, Question, expected_level, level_values
from ...host.decisions import MAX_CHOICES, MAX_QUESTIONS, decide
from ..http.answers import Answer, Whole
from ..http.chats import read_chat
from ..http.endpoint import Call
from ..http.fields import Field, honoured, wrong
from ..http.generation import blaming, leased
from .chat_request import ROLES

Choice = Annotated[str, Meta(min_length=1)]
Choices = Annotated[list[Choice], Meta(min_length=2, max_length=MAX_CHOICES)]
Levels = Annotated[list[Choice | int | float], Meta(min_length=2, max_length=MAX_CHOICES)]


_BEFORE = ("messages", "prompt", "context")
"""The fields of what questions follow."""


class QuestionBody(Struct, kw_only=True):
    """A question, and the answers to choose from: by default yes and no."""

    question: str | None = None
    choices: Choices | None = None
    levels: Levels | None = None

    def asked(self, where: str = "") -> Question:
        """Return the question. Raise :class:`InvalidRequestError` for choices that are no choices.

        Parameters:
            where: its path in the request, with a dot at its end.
        """
        if self.choices is not None and self.levels is not None:
            raise wrong(f"{where}choices", "give either choices or levels")
        texts = [str(each) for each in self.choices or self.levels or YES_AND_NO]
        if len(set(texts)) < len(texts):
            raise wrong(f"{where}{'choices' if self.choices else 'levels'}", "two choices are the same text")
        kind = "choice" if self.choices else "levels" if self.levels else "truth"
        return Question(text=self.question, choices=texts, kind=kind)

    def decision(self, question: Question, probabilities: list[float]) -> Mapping[str, Any]:
        """Return the likeliest choice, and the probability of each."""
        found = dict(zip(question.choices, probabilities, strict=True))
        level = UNSET if self.levels is None else expected_level(level_values(self.levels), probabilities)
        return {"choice": max(found, key=lambda choice: found[choice]), "probabilities": found, "level": level}


class CalibrationBody(Struct, kw_only=True):
    """A calibration, as the SDK's ``Calibration.to_dict()`` returns it; what it says of its fit has no effect."""

    temperature: Annotated[float, Meta(gt=0)] = 1.0
    bias: dict[str, float] = field(default_factory=dict[str, float])


class DecisionBody(QuestionBody, kw_only=True):
    """The body of a request to choose between answers."""

    model: Annotated[str, Meta(min_length=1)]
    messages: list[Any] | None = None
    prompt: str | None = None
    context: str | None = None
    questions: Annotated[list[QuestionBody], Meta(min_length=1, max_length=MAX_QUESTIONS)] | None = None
    normalization: Normalization = "none"
    calibration: CalibrationBody | None = None

    def before(self) -> ChatRequest | str:
        """Return the chat or the text that the questions follow. Raise :class:`InvalidRequestError` for several."""
        given = [name for name in _BEFORE if getattr(self, name) is not None]
        if len(given) > 1:
            raise wrong(given[1], f"give either {given[0]} or {given[1]}")
        if self.prompt is not None:
            return self.prompt
        if self.messages is not None:
            return ChatRequest(messages=read_chat(self.messages, ROLES))
        return ChatRequest(messages=[] if self.context is None else [Message("user", [Text(self.context)])])

    def all_questions(self) -> list[tuple[QuestionBody, Question]]:
        """Return the questions. Raise :class:`InvalidRequestError` where there is none, or one is malformed."""
        if self.questions is None:
            if self.question is None and self.messages is None and self.prompt is None:
                raise wrong("question", "missing", "Give a question, questions, messages or a prompt.")
            return [(self, self.asked())]
        for name in ("question", "choices", "levels"):
            if getattr(self, name) is not None:
                raise wrong(name, f"give either {name} or questions, each of which has its own")
        asked = [(each, each.asked(f"questions.{index}.")) for index, each in enumerate(self.questions)]
        for index, (each, _) in enumerate(asked):
            if each.question is None:
                raise wrong(f"questions.{index}.question", "missing")
        return asked


FIELDS: dict[str, Field] = {
    "model": honoured("The key or identifier of a model, or an alias of the server's."),
    "messages": honoured("A chat to answer, or that the questions follow, as for chat completions.", whole=True),
    "prompt": honoured("A text to continue exactly as it is, in place of messages."),
    "context": honoured("A text that the questions follow, in place of messages."),
    "question": honoured("The question; without one, the messages or the prompt ask."),
    "choices": honoured("2 to 256 texts that an answer may begin with. Default: Yes and No."),
    "levels": honoured("Choices in an order, the lowest first: texts or numbers. The answer has the expected level."),
    "questions": honoured(
        f"Up to {MAX_QUESTIONS} objects with a question each, and choices or levels, in place of one question.",
        whole=True,
    ),
    "normalization": honoured("Whether whole texts are compared (none, the default), or the means of their tokens."),
    "calibration": honoured("A calibration: its temperature, and its bias of each choice.", whole=True),
}


class Chosen(Struct, kw_only=True):
    """The likeliest choice, and the probability of each; together they are 1. Of levels, the expected one, too."""

    choice: str
    probabilities: dict[str, float]
    level: float | UnsetType = UNSET


class DecisionAnswer(Chosen, kw_only=True, tag_field="object", tag="decision"):
    """The answer to one question."""

    model: str


class IndexedDecision(Chosen, kw_only=True):
    """The answer to one of several questions."""

    index: int


class DecisionList(Struct, kw_only=True, tag_field="object", tag="list"):
    """The answers to several questions, in their order."""

    model: str
    data: list[IndexedDecision]


async def decide_between(call: Call[DecisionBody]) -> Answer:
    """Return which of several answers is the likeliest, to one question or to each of several."""
    body = call.body
    before, questions = body.before(), body.all_questions()
    scaling = body.calibration and Scaling(body.calibration.temperature, body.calibration.bias)
    with blaming(next((name for name in _BEFORE if getattr(body, name) is not None), "question")):
        async with leased(call, body.model) as lease:
            found = await decide(
                call.host,
                lease,
                before,
                [question for _, question in questions],
                PredictionConfig(),
                normalization=body.normalization,
                scaling=scaling,
            )
    decisions = [each.decision(question, one) for (each, question), one in zip(questions, found, strict=True)]
    if body.questions is None:
        return Whole(DecisionAnswer(model=body.model, **decisions[0]))
    data = [IndexedDecision(index=index, **each) for index, each in enumerate(decisions)]
    return Whole(DecisionList(model=body.model, data=data))
