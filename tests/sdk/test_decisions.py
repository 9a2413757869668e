"""``llm.decide()``: choices by their probabilities, which are the model's own, embedded and served."""

from __future__ import annotations

import enum
import math

import pytest

import studiolo as lm
from studiolo.sdk.decisions import choices_of

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


async def test_so_it_is_in_the_async_api(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        model = await client.llm.model()
        assert (await model.decide(CAPITAL, City)).probabilities.keys() == set(City)


@pytest.mark.parametrize("choices", [[], ["a"], ["a", "a"], ["a", ""], "ab", 5, str])
def test_wrong_choices_are_refused(llm: lm.LLM, choices: object) -> None:
    with pytest.raises(lm.ConfigError, match="choice"):
        llm.decide(CAPITAL, choices)  # type: ignore[call-overload]


def test_choices_have_texts() -> None:
    assert [each.text for each in choices_of([1, 2.5, "x"])] == ["1", "2.5", "x"]
