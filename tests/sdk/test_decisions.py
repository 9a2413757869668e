"""``llm.decide()``: choices by their probabilities, which are the model's own, embedded and served."""

from __future__ import annotations

import enum
import json
import math

import pytest

import studiolo as lm
from studiolo.sdk.decisions import Choices

pytestmark = pytest.mark.served

CAPITAL = "What is the capital of France?"


class City(enum.Enum):
    """Some cities."""

    PARIS = "Paris"
    OSLO = "Oslo"


def test_the_likeliest_choice_is_returned_with_all_probabilities(llm: lm.LLM) -> None:
    found = llm.decide(CAPITAL, ["The capital of France is Paris", "Potatoes grow in the ground"])
    assert found.choice == "The capital of France is Paris"
    assert found.probabilities[found.choice] > 0.9
    assert math.isclose(sum(found.probabilities.values()), 1)


def test_a_question_that_can_never_fit_is_refused_without_counting_its_tokens(llm: lm.LLM) -> None:
    for context in (None, "word " * 400_000):
        with pytest.raises(lm.PromptTooLongError, match=r"The prompt has at least \d+ tokens"):
            llm.decide(CAPITAL if context else "word " * 400_000, context=context)


def test_probabilities_are_those_of_the_tokens(llm: lm.LLM) -> None:
    found = llm.decide(CAPITAL, ["The", "I"])
    prediction = llm.respond(CAPITAL, config={"temperature": 0, "max_tokens": 1, "log_probs": 100})
    assert prediction.logprobs is not None
    first = {each.text: each.logprob for each in prediction.logprobs[0]}
    ratio = found.probabilities["The"] / found.probabilities["I"]
    assert ratio == pytest.approx(math.exp(first["The"] - first["I"]), rel=0.05)


def test_an_enumeration_and_a_truth_value_are_choices(llm: lm.LLM) -> None:
    city = llm.decide(CAPITAL, City)
    assert isinstance(city.choice, City) and set(city.probabilities) == set(City)
    answer = llm.decide("Is water wet?")
    assert isinstance(answer.choice, bool) and set(answer.probabilities) == {True, False}


class Rating(enum.IntEnum):
    """Ratings, not defined in the order of their values."""

    HIGH = 3
    LOW = 1


def test_levels_have_an_expected_level(llm: lm.LLM) -> None:
    found = llm.decide("How warm is ice?", lm.Levels(["cold", "warm", "hot"]))
    assert found.level == pytest.approx(found.probabilities["warm"] + 2 * found.probabilities["hot"])
    rating = llm.decide("Rate water from 1 to 3.", Rating)
    assert list(rating.probabilities) == [Rating.LOW, Rating.HIGH]
    assert rating.level == pytest.approx(rating.probabilities[Rating.LOW] + 3 * rating.probabilities[Rating.HIGH])
    assert llm.decide(CAPITAL, City).level is None


def test_many_questions_about_one_context_are_answered_as_one_by_one(llm: lm.LLM) -> None:
    context = "The sky is blue. Grass is green."
    questions = ["Is the sky blue?", lm.Question("Where is the Eiffel Tower?", City), "Is grass red?"]
    many = llm.decide_many(questions, context=context)
    assert [type(each.choice) for each in many] == [bool, City, bool]
    one = llm.decide(f"{context}\n\nIs grass red?")
    assert many[2].probabilities == pytest.approx(one.probabilities, abs=0.02)
    after = llm.decide("Is grass red?", context=context)
    assert many[2].probabilities == pytest.approx(after.probabilities, abs=0.02)
    assert llm.decide_many([]) == []


def test_a_calibration_is_fitted_applied_and_kept(llm: lm.LLM) -> None:
    choices = ["Yes", "No"]
    examples = [(f"Is {number} even?", choices[number % 2]) for number in range(12)]
    calibration = llm.calibrate(examples, choices)
    assert (calibration.examples, calibration.held_out) == (8, 4)
    assert calibration.error_before is not None and calibration.error_after is not None
    kept = lm.Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert kept == calibration
    plain = llm.decide("Is 7 even?", choices).probabilities
    scaled = llm.decide("Is 7 even?", choices, calibration=kept).probabilities
    odds = math.log(plain["Yes"] / plain["No"]) / kept.temperature + kept.bias["Yes"] - kept.bias["No"]
    assert math.log(scaled["Yes"] / scaled["No"]) == pytest.approx(odds, abs=0.05)


def test_wrong_examples_and_calibrations_are_refused(llm: lm.LLM) -> None:
    for wrong in ([("a?", True)] * 5, [("a?", "Yes")] * 9, ["a?"] * 9, "text", [("a?", 1)] * 9):
        with pytest.raises(lm.ConfigError):
            llm.calibrate(wrong)  # type: ignore[arg-type]
    with pytest.raises(lm.ConfigError):
        llm.decide("Is water wet?", calibration=lm.Calibration(temperature=-1))
    with pytest.raises(lm.ConfigError, match="normalization"):
        llm.decide("Is water wet?", normalization="sum")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="contxt"):
        llm.decide("Is water wet?", contxt="Water.")  # type: ignore[call-overload]


async def test_so_it_is_in_the_async_api(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        model = await client.llm.model()
        assert (await model.decide(CAPITAL, City)).probabilities.keys() == set(City)


@pytest.mark.parametrize("choices", [[], ["a"], ["a", "a"], ["a", ""], "ab", 5, str, lm.Levels([1])])
def test_wrong_choices_are_refused(llm: lm.LLM, choices: object) -> None:
    with pytest.raises(lm.ConfigError, match="choice"):
        llm.decide(CAPITAL, choices)  # type: ignore[call-overload]


def test_choices_have_texts() -> None:
    assert [each.text for each in Choices.of([1, 2.5, "x"]).options] == ["1", "2.5", "x"]
