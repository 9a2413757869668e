"""The runs of an engine that score choices, on a stand-in whose probabilities are a table."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from studiolo.config import LoadConfig
from studiolo.domain.decisions import Normalization
from studiolo.domain.generation import Fragment, LogProb, TokenLogProbs
from studiolo.engines.base import Completed, CompletionRequest
from studiolo.engines.prompt import Prompt
from studiolo.host.choice_scores import Scoring, Tokenizer, choice_scores, shared_length
from studiolo.host.decisions import _width  # pyright: ignore[reportPrivateUsage]
from studiolo.host.scoring import Beginning

LEASE: Any = SimpleNamespace(instance=SimpleNamespace(config=LoadConfig()))
IMAGE = b"image"


class TableEngine:
    """A stand-in for an engine: each letter is a token, whose probability depends on the letter before it.

    Parameters:
        table: the probabilities of letters after a letter.
        silent: letters that are not reported when they are generated.
        reported: likely letters that are reported at most.
    """

    def __init__(self, table: dict[str, dict[str, float]], silent: str = "", reported: int = 100) -> None:
        self.table = table
        self.silent = silent
        self.reported = reported
        self.requests: list[tuple[str, str]] = []

    async def tokenize(self, text: Any) -> list[int]:
        return [ord(letter) for letter in (text if isinstance(text, str) else text.text)]

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Any, None]:
        assert request.constraint is not None and request.constraint.grammar is not None
        forced = [chr(int(token)) for token in re.findall(r"<\[(\d+)\]>", request.constraint.grammar)]
        prompt = "".join(map(chr, request.prompt)) if isinstance(request.prompt, list) else str(request.prompt)
        self.requests.append((prompt, "".join(forced)))
        before, top = prompt[-1], int(request.config.log_probs or 0)
        for letter in forced:
            row = self.table.get(before, {})
            likely = sorted(row, key=lambda each: -row[each])[: min(top, self.reported)]
            others = [LogProb(each, math.log(row[each]), ord(each)) for each in likely if each != letter]
            score = TokenLogProbs(LogProb(letter, math.log(row.get(letter, 1e-9)), ord(letter)), others)
            if letter not in self.silent:
                yield Fragment(letter, logprobs=[score])
            before = letter
        yield Completed(
            stop_reason="end_of_text", stop_string=None, prompt_tokens=1, predicted_tokens=1, tokens_per_second=None
        )


TABLE = {
    "?": {"y": 0.5, "n": 0.25, "a": 0.2},
    "y": {"e": 0.5, "a": 0.4},
    "e": {"s": 0.5},
    "n": {"o": 0.5},
    "a": {"y": 1},
}


async def _scores(engine: TableEngine, choices: Sequence[str], normalization: Normalization = "none") -> list[float]:
    scoring = await Tokenizer(engine, ()).scoring(Prompt("?"), (), choices)  # type: ignore[arg-type]
    return [math.exp(each) for each in await choice_scores(engine, LEASE, scoring, normalization)]  # type: ignore[arg-type]


async def test_choices_of_one_token_take_one_run() -> None:
    engine = TableEngine(TABLE)
    assert await _scores(engine, ["y", "n", "a"]) == pytest.approx([0.5, 0.25, 0.2])
    assert engine.requests == [("?", "y")]


async def test_one_run_scores_all_choices_up_to_where_they_part() -> None:
    engine = TableEngine(TABLE)
    assert await _scores(engine, ["yes", "ya", "no"]) == pytest.approx([0.125, 0.2, 0.125])
    assert engine.requests == [("?", "yes"), ("?n", "o")]  # "ya" was among the likely ones of the first run


async def test_a_choice_that_is_not_among_the_likely_ones_has_a_run_of_its_own() -> None:
    engine = TableEngine(TABLE, reported=1)
    assert await _scores(engine, ["n", "a"]) == pytest.approx([0.25, 0.2])
    assert engine.requests == [("?", "n"), ("?", "a")]


async def test_the_mean_of_the_tokens_is_that_of_what_differs() -> None:
    engine = TableEngine(TABLE)
    assert await _scores(engine, ["yes", "n"], "tokens") == pytest.approx([0.5, 0.25])
    assert await _scores(engine, ["ye", "ya"], "tokens") == pytest.approx([0.5, 0.4])  # "y" says nothing
    assert engine.requests[-1] == ("?y", "e")


async def test_a_choice_that_another_begins_with_is_scored() -> None:
    assert await _scores(TableEngine(TABLE), ["ye", "yes"]) == pytest.approx([0.5, 0.25])


async def test_a_token_that_is_not_reported_is_found_among_the_likely_ones() -> None:
    engine = TableEngine(TABLE, silent="e")
    assert await _scores(engine, ["yes", "no"]) == pytest.approx([0.125, 0.125])


@pytest.mark.parametrize("silent", ["", "e"])
async def test_after_an_image_the_choice_is_generated_from_its_first_token(silent: str) -> None:
    engine = TableEngine(TABLE, silent)
    scoring = await Tokenizer(engine, ()).scoring(Prompt("?"), [IMAGE], ["yes", "ya", "no"])  # type: ignore[arg-type]
    assert scoring.beginning == Beginning(text="?", media=[IMAGE])
    found = await choice_scores(engine, LEASE, scoring, "none")  # type: ignore[arg-type]
    assert [math.exp(each) for each in found] == pytest.approx([0.125, 0.2, 0.125])
    assert {prompt for prompt, _ in engine.requests} == {"?"}


async def test_only_what_follows_the_last_control_token_is_tokenized_with_each_choice() -> None:
    engine = TableEngine(TABLE)
    asked: list[str] = []
    tokenize = engine.tokenize

    async def recorded(text: Any) -> list[int]:
        asked.append(text)
        return await tokenize(text)

    engine.tokenize = recorded  # type: ignore[method-assign]
    tokenizer = Tokenizer(engine, ["<a>"])  # type: ignore[arg-type]
    first = await tokenizer.scoring(Prompt("long<a>:"), (), ["x", "y"])
    second = await tokenizer.scoring(Prompt("longer<a>:"), (), ["x", "y"])
    assert asked == ["long<a>:", "", "<a>:", "<a>:x", "<a>:y", "longer<a>:"]
    assert [len(first.beginning.tokens), len(second.beginning.tokens)] == [len("long<a>:"), len("longer<a>:")]
    assert first.choices == second.choices == [(ord("x"),), (ord("y"),)]


def _scoring(prompt: str, media: Sequence[bytes] = ()) -> Scoring:
    return Scoring(Beginning([ord(letter) for letter in prompt], media=media), [(1,), (2,)], len(prompt))


def test_further_slots_are_used_where_the_questions_outweigh_what_they_share() -> None:
    long, short = "x" * 1000, "x"
    assert _width(4, [_scoring(f"{long}{number}") for number in range(9)]) == 1
    assert _width(4, [_scoring(f"{short}{number}{long}") for number in range(9)]) == 4
    assert _width(4, [_scoring(f"{short}{number}{long}") for number in range(3)]) == 3
    assert _width(4, [_scoring("x" * 10 + f"{number}{'y' * 4}") for number in range(2)]) == 2
    assert _width(4, [_scoring(str(number), [IMAGE]) for number in range(9)]) == 1


def test_what_texts_begin_with_alike() -> None:
    assert shared_length([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert shared_length([[1], [2]]) == 0
    assert shared_length([[1, 2]]) == 2
