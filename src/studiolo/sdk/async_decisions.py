"""The decisions of an LLM in the async API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Unpack, cast, overload

from ..config import prediction_config
from ..deadline import Deadline
from ..domain.decisions import Normalization
from ..errors import ConfigError
from ..protocol.chat import ChatHistoryData
from ..protocol.kv import encode_prediction_config, stack_of
from ..protocol.llm import DECIDE, Calibration, DecideParameter, QuestionData
from .arguments import instance_of, items, one_of, optional, text
from .async_handle import AsyncModelHandle
from .callbacks import check_options
from .chat import Chat, HistoryInput
from .chat_parts import upload_media
from .decisions import (
    C,
    CalibrationOptions,
    Choices,
    Decision,
    DecisionOptions,
    E,
    Levels,
    Question,
    T,
    calibration_of,
    questions_of,
)
from .timeouts import deadline_of

QUESTIONS_AT_ONCE = 256
"""Questions of one request; more become several requests, one after the other."""


class AsyncDeciding(AsyncModelHandle):
    """A loaded LLM, as far as it decides."""

    @overload
    async def decide(
        self, question: HistoryInput, choices: type[bool] = bool, **options: Unpack[DecisionOptions]
    ) -> Decision[bool]: ...
    @overload
    async def decide(
        self, question: HistoryInput, choices: type[E], **options: Unpack[DecisionOptions]
    ) -> Decision[E]: ...
    @overload
    async def decide(
        self, question: HistoryInput, choices: Levels[T], **options: Unpack[DecisionOptions]
    ) -> Decision[T]: ...
    @overload
    async def decide(
        self, question: HistoryInput, choices: Iterable[C], **options: Unpack[DecisionOptions]
    ) -> Decision[C]: ...
    async def decide(
        self, question: HistoryInput, choices: Any = bool, **options: Unpack[DecisionOptions]
    ) -> Decision[Any]:
        """Return which of several answers the model finds likeliest, without generating one.

        The choices are compared by the probabilities that an answer without reasoning begins with their texts. Ask so
        that they are natural answers. An addition of studiolo's.

        Parameters:
            question: text, or without a context a chat, as for :meth:`respond_stream`.
            choices: ``bool`` (the default) for "Yes" and "No"; an ``Enum`` for the values of its members; ``Levels``
                or an ``IntEnum`` for choices in an order; or 2 to 256 values, each by its text.
            context: text or a chat that comes before the question.
            config: the settings of the prompt: its system prompt and template.
            normalization: ``"none"`` (the default) compares the probabilities of the whole texts; ``"tokens"`` the
                geometric means of those of their tokens, for choices that differ much in length and that the question
                does not name.
            calibration: the result of :meth:`calibrate`.
            timeout: the time limit of the whole in seconds. Default: none.

        Raises:
            ConfigError: an argument is malformed.
            UnsupportedError: the engine of the model cannot do it, or the model does not take the images or the audio.
            TimeLimitError: it took longer than ``timeout``.
        """
        check_options("decide", options, DecisionOptions)
        deadline = deadline_of(options.get("timeout"), "decide()")
        asked = Choices.of(choices)
        if options.get("context") is None:
            history, data = Chat.from_history(question).history_data(), asked.question(None)
        else:
            history, data = _history(options), asked.question(text(question, "question"))
        (found,) = await self._probabilities(history, [data], options, deadline)
        return asked.decision(found)

    @overload
    async def decide_many(
        self, questions: Iterable[str | Question], choices: type[bool] = bool, **options: Unpack[DecisionOptions]
    ) -> list[Decision[bool]]: ...
    @overload
    async def decide_many(
        self, questions: Iterable[str | Question], choices: type[E], **options: Unpack[DecisionOptions]
    ) -> list[Decision[E]]: ...
    @overload
    async def decide_many(
        self, questions: Iterable[str | Question], choices: Levels[T], **options: Unpack[DecisionOptions]
    ) -> list[Decision[T]]: ...
    @overload
    async def decide_many(
        self, questions: Iterable[str | Question], choices: Iterable[C], **options: Unpack[DecisionOptions]
    ) -> list[Decision[C]]: ...
    async def decide_many(
        self, questions: Iterable[str | Question], choices: Any = bool, **options: Unpack[DecisionOptions]
    ) -> list[Decision[Any]]:
        """Return the decisions of many questions after one context, in the order of the questions.

        The model reads the context once, and answers the questions several at once where that is faster. No question
        or answer influences another.

        Parameters:
            questions: texts; or :class:`Question`, each with choices of its own.
            choices: as for :meth:`decide`, of the questions that are texts.
            context, config, normalization, calibration, timeout: as for :meth:`decide`.

        Raises:
            ConfigError, UnsupportedError, TimeLimitError: as :meth:`decide`.
        """
        check_options("decide_many", options, DecisionOptions)
        deadline = deadline_of(options.get("timeout"), "decide_many()")
        asked = questions_of(questions, choices)
        data = [each.question(question) for question, each in asked]
        found = await self._probabilities(_history(options), data, options, deadline)
        return [each.decision(probabilities) for (_, each), probabilities in zip(asked, found, strict=True)]

    async def calibrate(
        self,
        examples: Iterable[tuple[str | Question, Any]],
        choices: Any = bool,
        **options: Unpack[CalibrationOptions],
    ) -> Calibration:
        """Return what makes the probabilities of decisions like the examples say how often they are right.

        A temperature and a bias for each choice are fitted on two thirds of the examples; the result has the expected
        calibration error of the others, before and after. The same decisions give the same result.

        Parameters:
            examples: at least 6, better a hundred or more: pairs of a question and its right answer, which is one
                of the choices.
            choices, context, config, normalization: as for the decisions that it is for: see :meth:`decide_many`.
            timeout: the time limit of the whole in seconds. Default: none.

        Raises:
            ConfigError, UnsupportedError, TimeLimitError: as :meth:`decide`; there are too few examples.
        """
        check_options("calibrate", options, CalibrationOptions)
        deadline = deadline_of(options.get("timeout"), "calibrate()")
        pairs = [_pair(each, f"examples[{index}]") for index, each in enumerate(items(examples, "examples"))]
        asked = questions_of([question for question, _ in pairs], choices)
        right = [each.index(value) for (_, each), (_, value) in zip(asked, pairs, strict=True)]
        data = [each.question(question) for question, each in asked]
        found = await self._probabilities(_history(options), data, options, deadline)
        async with deadline.enforced("calibrate()"):
            return await asyncio.to_thread(calibration_of, [each for _, each in asked], found, right)

    async def _probabilities(
        self,
        history: ChatHistoryData,
        questions: Sequence[QuestionData],
        options: DecisionOptions | CalibrationOptions,
        deadline: Deadline,
    ) -> list[list[float]]:
        normalization = cast("Normalization", _normalization(options.get("normalization", "none"), "normalization"))
        calibration = optional(_calibration, options.get("calibration"), "calibration")
        await upload_media(self._session, history, deadline)
        stack = stack_of(encode_prediction_config(prediction_config(options.get("config"))))
        found: list[list[float]] = []
        for start in range(0, len(questions), QUESTIONS_AT_ONCE):
            parameter = DecideParameter(
                specifier=self._specifier,
                history=history,
                prediction_config_stack=stack,
                questions=[*questions[start : start + QUESTIONS_AT_ONCE]],
                normalization=normalization,
                calibration=calibration,
            )
            found += (await self._call(DECIDE, parameter, deadline)).probabilities
        return found


_normalization = one_of("none", "tokens")
_calibration = instance_of(Calibration, "Pass what calibrate() returned, or from_dict() of what was stored.")


def _history(options: DecisionOptions | CalibrationOptions) -> ChatHistoryData:
    context = options.get("context")
    return (Chat() if context is None else Chat.from_history(context)).history_data()


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    match value:
        case (question, right):
            return question, right
        case _:
            raise ConfigError(f"{name} is not a pair of a question and its right answer")
