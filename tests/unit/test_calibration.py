"""The fit of a calibration: on decisions whose probabilities are known to be wrong in a known way."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from studiolo.domain.calibration import Example, Scaling, expected_calibration_error, fit
from studiolo.domain.decisions import expected_level, softmax


def _examples(count: int, temperature: float, bias: Sequence[float], seed: int = 1) -> list[Example]:
    """Decisions whose right answers are drawn by probabilities from which the scores have been distorted."""
    rng = random.Random(seed)
    examples: list[Example] = []
    for _ in range(count):
        true = [rng.gauss(0, 1.5) for _ in "abc"]
        right = rng.choices(range(3), softmax(true))[0]
        scores = [(score - shift) * temperature for score, shift in zip(true, bias, strict=True)]
        examples.append(Example(["a", "b", "c"], scores, right))
    return examples


def test_the_temperature_and_the_biases_that_distort_the_scores_are_found() -> None:
    found = fit(_examples(500, 4, [1, 0, -1])).scaling
    assert found.temperature == pytest.approx(4, rel=0.3)
    assert found.bias["a"] - found.bias["c"] == pytest.approx(2, abs=0.5)


def test_the_error_on_held_out_examples_falls() -> None:
    found = fit(_examples(300, 5, [0.5, 0, 0]))
    assert (found.examples, found.held_out) == (200, 100)
    assert found.error_after < found.error_before / 2
    assert found.accuracy_after >= found.accuracy_before - 0.05


def test_scores_that_are_right_already_stay_about_as_they_are() -> None:
    found = fit(_examples(600, 1, [0, 0, 0]))
    assert found.scaling.temperature == pytest.approx(1, rel=0.3)
    assert found.error_after < 0.1


def test_the_order_of_the_answers_does_not_decide_what_is_held_out() -> None:
    examples = sorted(_examples(90, 2, [0, 0, 0]), key=lambda each: each.right)
    found = fit(examples)
    assert (found.examples, found.held_out) == (60, 30)
    assert fit(examples) == found  # the same examples, the same result


@pytest.mark.parametrize("scores", [(0.0, 0.0), (500.0, -500.0), (-700.0, 0.0)])
def test_extreme_scores_have_a_finite_fit(scores: tuple[float, float]) -> None:
    found = fit([Example(["a", "b"], scores, right % 2) for right in range(12)])
    assert found.scaling.temperature > 0
    assert 0 <= found.error_after <= 1


def test_a_scaling_divides_and_adds() -> None:
    assert Scaling(2, {"b": 1.5}).scaled(["a", "b"], [-4, -2]) == [-2, 0.5]


def test_the_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert expected_calibration_error([(0.9, True), (0.9, False)]) == pytest.approx(0.4)
    assert expected_calibration_error([(1.0, True), (0.5, True), (0.5, False)]) == pytest.approx(0)


def test_an_expected_level_is_a_mean() -> None:
    assert expected_level([1, 2, 5], [0.5, 0.25, 0.25]) == 2.25
