"""Calibration: make the probabilities of decisions say how often they are right.

A temperature for all choices, and a bias for each, are fitted on examples by the method of temperature and vector
scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017): they make the right answers likeliest. Plain
arithmetic from a fixed start, so that the same examples give the same result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .decisions import log_probability, softmax

BINS = 10
"""Bins of the expected calibration error, of equal width."""

HELD_OUT = 3
"""Every so many-th example is left out of the fit."""

MIN_EXAMPLES = 6

PRIOR_STD = 2.0
"""How far biases and the temperature's logarithm go from 0 on few examples: the width of a normal distribution."""

MAX_STEPS = 300
MIN_GRADIENT = 1e-5


@dataclass(frozen=True)
class Example:
    """A decision and the right answer.

    Parameters:
        choices: the texts of the choices.
        scores: of each, before any calibration: the logarithm of its probability, plus any constant.
        right: the position of the right one.
    """

    choices: Sequence[str]
    scores: Sequence[float]
    right: int


@dataclass(frozen=True)
class Scaling:
    """What calibration does to scores: they are divided by the temperature, and each choice's bias is added."""

    temperature: float = 1.0
    bias: Mapping[str, float] = field(default_factory=dict[str, float])

    def scaled(self, choices: Sequence[str], scores: Sequence[float]) -> list[float]:
        """Return the scores after calibration."""
        pairs = zip(choices, scores, strict=True)
        return [score / self.temperature + self.bias.get(choice, 0.0) for choice, score in pairs]


@dataclass(frozen=True)
class Fit:
    """A scaling, and how it does on the examples that it was not fitted on.

    Parameters:
        examples: how many it was fitted on.
        held_out: how many it was measured on.
        error_before, error_after: their expected calibration error without it and with it.
        accuracy_before, accuracy_after: the share of them whose likeliest choice is right.
    """

    scaling: Scaling
    examples: int
    held_out: int
    error_before: float
    error_after: float
    accuracy_before: float
    accuracy_after: float


def fit(examples: Sequence[Example]) -> Fit:
    """Fit a scaling on two thirds of ``examples``, and measure it on the others.

    Every third is held out, of the examples in the order of their answers: each answer has its share of both.

    Parameters:
        examples: at least :data:`MIN_EXAMPLES`.
    """
    ordered = sorted(examples, key=lambda each: each.choices[each.right])  # a stable sort
    training = [each for index, each in enumerate(ordered) if index % HELD_OUT != HELD_OUT - 1]
    held_out = ordered[HELD_OUT - 1 :: HELD_OUT]
    scaling = _fitted(training)
    before, after = _judged(held_out, Scaling()), _judged(held_out, scaling)
    return Fit(
        scaling=scaling,
        examples=len(training),
        held_out=len(held_out),
        error_before=expected_calibration_error(before),
        error_after=expected_calibration_error(after),
        accuracy_before=accuracy(before),
        accuracy_after=accuracy(after),
    )


Judged = Sequence[tuple[float, bool]]
"""Of each decision, the probability of its likeliest choice, and whether that is right."""


def expected_calibration_error(judged: Judged) -> float:
    """Return how far the probabilities are from how often they are right, 0 to 1: the mean over bins, by their size."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for confidence, right in judged:
        bins[min(int(confidence * BINS), BINS - 1)].append((confidence, right))
    gaps = (abs(sum(confidence - right for confidence, right in each)) for each in bins)
    return sum(gaps) / len(judged)


def accuracy(judged: Judged) -> float:
    """Return the share that is right."""
    return sum(right for _, right in judged) / len(judged)


def _judged(examples: Sequence[Example], scaling: Scaling) -> Judged:
    found: list[tuple[float, bool]] = []
    for each in examples:
        probabilities = softmax(scaling.scaled(each.choices, each.scores))
        best = max(probabilities)
        found.append((best, probabilities.index(best) == each.right))
    return found


def _fitted(examples: Sequence[Example]) -> Scaling:
    """Return the scaling with the least loss, found by descending along its gradient."""
    names = sorted({choice for each in examples for choice in each.choices})
    positions = {name: position for position, name in enumerate(names)}
    rows = [_Row.of(each, positions) for each in examples]
    spread = math.sqrt(sum(z * z for row in rows for z in row.scores) / sum(len(row.scores) for row in rows)) or 1.0
    start = [-math.log(spread) if spread > 1 else 0.0, *(0.0 for _ in names)]  # log of 1 / temperature, biases
    point = start
    loss, gradient = _loss(rows, point)
    step = 1.0
    for _ in range(MAX_STEPS):
        slope = sum(each * each for each in gradient)
        if slope < MIN_GRADIENT**2:
            break
        while step > 1e-12:
            further = [each - step * down for each, down in zip(point, gradient, strict=True)]
            next_loss, next_gradient = _loss(rows, further)
            if next_loss <= loss - step * slope / 2:
                break
            step /= 2
        else:
            break
        point, loss, gradient = further, next_loss, next_gradient
        step *= 2
    return Scaling(math.exp(-point[0]), {name: point[1 + position] for name, position in positions.items()})


@dataclass(frozen=True)
class _Row:
    scores: list[float]  # their mean is 0
    places: list[int]  # of each choice among all biases
    right: int

    @classmethod
    def of(cls, example: Example, positions: Mapping[str, int]) -> _Row:
        mean = sum(example.scores) / len(example.scores)
        places = [positions[choice] for choice in example.choices]
        return cls([score - mean for score in example.scores], places, example.right)


def _loss(rows: Sequence[_Row], point: Sequence[float]) -> tuple[float, list[float]]:
    """Return the mean negative log-likelihood of the right answers with a penalty for large values; its gradient."""
    penalty = 1 / (len(rows) * PRIOR_STD**2)
    scale = math.exp(point[0])
    loss = sum(each * each for each in point) * penalty / 2
    gradient = [each * penalty for each in point]
    share = 1 / len(rows)
    for row in rows:
        scores = [score * scale + point[1 + place] for score, place in zip(row.scores, row.places, strict=True)]
        probabilities = softmax(scores)
        loss -= share * log_probability(probabilities[row.right])
        for index, (probability, place) in enumerate(zip(probabilities, row.places, strict=True)):
            error = share * (probability - (index == row.right))
            gradient[1 + place] += error
            gradient[0] += error * row.scores[index] * scale
    return loss, gradient
