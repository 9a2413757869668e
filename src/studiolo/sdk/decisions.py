"""Decisions between several answers: choices, questions and results."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, cast

from msgspec import Struct

from ..domain.calibration import MIN_EXAMPLES, Example, fit
from ..domain.decisions import YES_AND_NO, Normalization, QuestionKind, expected_level, level_values, log_probability
from ..errors import ConfigError
from ..protocol.llm import Calibration, QuestionData
from .arguments import text
from .chat import HistoryInput
from .prediction import PredictionConfigInput
from .timeouts import Timeout

T = TypeVar("T")
C = TypeVar("C", str, int, float)
E = TypeVar("E", bound=enum.Enum)


class Levels(Generic[T]):
    """Choices in an order, the lowest first: a decision between them has an expected level.

    Parameters:
        values: at least two, each by its text as an answer.
    """

    def __init__(self, values: Iterable[T]) -> None:
        self.values = list(values)


class Question(Struct, frozen=True):
    """A question with choices of its own, for :meth:`AsyncLLM.decide_many`.

    Parameters:
        text: the question.
        choices: as for :meth:`AsyncLLM.decide`.
    """

    text: str
    choices: Any = bool


class Decision(Struct, Generic[T], frozen=True):
    """Which of several answers a model finds likeliest.

    Parameters:
        choice: the likeliest one.
        probabilities: of each choice, in their order; together they are 1.
        level: of ``Levels`` and of an ``IntEnum``, the mean of their values by their probabilities; levels that are
            not numbers count from 0.
    """

    choice: T
    probabilities: dict[T, float]
    level: float | None = None


class DecisionOptions(TypedDict, total=False):
    """The keyword arguments of :meth:`AsyncLLM.decide` and :meth:`AsyncLLM.decide_many`."""

    context: HistoryInput | None
    config: PredictionConfigInput | None
    normalization: Normalization
    calibration: Calibration | None
    timeout: Timeout


class CalibrationOptions(TypedDict, total=False):
    """The keyword arguments of :meth:`AsyncLLM.calibrate`."""

    context: HistoryInput | None
    config: PredictionConfigInput | None
    normalization: Normalization
    timeout: Timeout


class Option(NamedTuple):
    """A choice, and its text as an answer."""

    value: Any
    text: str


@dataclass(frozen=True)
class Choices:
    """The choices of a question.

    Parameters:
        options: in their order.
        kind: what they are.
    """

    options: Sequence[Option]
    kind: QuestionKind = "choice"

    @classmethod
    def of(cls, given: Any) -> Choices:
        """Return the choices of a type or of a list of values. Raise :class:`ConfigError` for anything else."""
        if given is bool:
            return cls([Option(value, each) for value, each in zip((True, False), YES_AND_NO, strict=True)], "truth")
        kind: QuestionKind = "choice"
        if isinstance(given, type) and issubclass(given, enum.IntEnum):
            options, kind = [Option(each, str(each.value)) for each in sorted(given)], "levels"
        elif isinstance(given, type) and issubclass(given, enum.Enum):
            options = [Option(each, str(each.value)) for each in given]
        elif isinstance(given, Levels):
            options, kind = _listed(cast("Levels[Any]", given).values), "levels"
        elif isinstance(given, str | bytes | type) or not isinstance(given, Iterable):
            raise ConfigError(
                f"choices is {given!r:.80}", suggestion="Give bool, an Enum, Levels, or a list of values."
            )
        else:
            options = _listed(cast("Iterable[Any]", given))
        if len(options) < 2:
            raise ConfigError(f"choices has {len(options)} values, and a decision needs at least 2")
        return cls(options, kind)

    def question(self, asked: str | None) -> QuestionData:
        """Return the question for the host."""
        return QuestionData(text=asked, choices=[each.text for each in self.options], kind=self.kind)

    def decision(self, probabilities: Sequence[float]) -> Decision[Any]:
        """Return the decision between them."""
        found = {option.value: each for option, each in zip(self.options, probabilities, strict=True)}
        values = level_values([option.value for option in self.options])
        level = expected_level(values, probabilities) if self.kind == "levels" else None
        return Decision(max(found, key=lambda value: found[value]), found, level)

    def index(self, value: Any) -> int:
        """Return the position of a choice. Raise :class:`ConfigError` for what is none of them."""
        for index, option in enumerate(self.options):
            if option.value == value and type(option.value) is type(value):
                return index
        raise ConfigError(
            f"The right answer {value!r:.80} is none of the choices",
            suggestion=f"They are {', '.join(repr(each.value) for each in self.options)}."[:300],
        )


def _listed(values: Iterable[Any]) -> list[Option]:
    return [Option(each, str(each)) for each in values]


def questions_of(given: Iterable[Any], choices: Any) -> list[tuple[str, Choices]]:
    """Return questions with their choices. Raise :class:`ConfigError` for what is neither text nor a question."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"questions is {given!r:.80}", suggestion="Give a list of texts or of studiolo.Question.")
    common = None
    questions: list[tuple[str, Choices]] = []
    for index, each in enumerate(given):
        if isinstance(each, Question):
            questions.append((text(each.text, f"questions[{index}].text"), Choices.of(each.choices)))
        else:
            common = common or Choices.of(choices)
            questions.append((text(each, f"questions[{index}]"), common))
    return questions


def calibration_of(
    choices: Sequence[Choices], probabilities: Sequence[Sequence[float]], right: Sequence[int]
) -> Calibration:
    """Fit a calibration on decisions whose right answers are known. Computes for up to seconds.

    Parameters:
        probabilities: of the choices of each decision, without a calibration.
        right: the position of each right answer.

    Raises:
        ConfigError: there are too few.
    """
    if len(right) < MIN_EXAMPLES:
        raise ConfigError(
            f"There are {len(right)} examples, and a calibration needs at least {MIN_EXAMPLES}",
            suggestion="Give a hundred or more, of every answer some.",
        )
    examples = [
        Example([option.text for option in each.options], [log_probability(one) for one in found], position)
        for each, found, position in zip(choices, probabilities, right, strict=True)
    ]
    fitted = fit(examples)
    return Calibration(
        temperature=fitted.scaling.temperature,
        bias=dict(fitted.scaling.bias),
        examples=fitted.examples,
        held_out=fitted.held_out,
        error_before=fitted.error_before,
        error_after=fitted.error_after,
        accuracy_before=fitted.accuracy_before,
        accuracy_after=fitted.accuracy_after,
    )
