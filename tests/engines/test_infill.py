"""Gaps in texts, filled by a real engine: the tokens that it gets, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.homes import link_model
from tests.support.models.templated import BOS, INFILL

pytestmark = pytest.mark.slow

PREFIX, SUFFIX = "def add(a, b):\n    return", "\n\nprint(add(1, 2))"
CONFIG = {"temperature": 0, "max_tokens": 5}


@pytest.fixture(scope="module")
def prompts() -> list[Any]:
    """The prompts that engines of this module got."""
    return []


@pytest.fixture(scope="module")
def coder(templated_model: Path, tmp_path_factory: pytest.TempPathFactory, prompts: list[Any]) -> Iterator[lm.LLM]:
    """A real engine with a model that has tokens for gaps, and a context of 256."""
    home = Home(tmp_path_factory.mktemp("infill") / "home")
    link_model(templated_model, home)
    complete = LlamaServerClient.complete

    async def watched(self: LlamaServerClient, request: Any) -> AsyncGenerator[Any, None]:
        prompts.append(request.prompt)
        async for event in complete(self, request):
            yield event

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIOLO_HOME", str(home.root))
        patch.setattr(LlamaServerClient, "complete", watched)
        with lm.Client("embedded") as client:
            yield client.llm.load_new_instance("tiny-templated", config={"context_length": 256})
        background.run(close_hosts())


def test_the_engine_gets_the_texts_between_the_model_s_own_tokens(coder: lm.LLM, prompts: list[Any]) -> None:
    pre, suf, mid = INFILL
    (bos,) = coder.tokenize("")
    prefix, suffix = coder.tokenize(PREFIX)[1:], coder.tokenize(SUFFIX)[1:]
    found = coder.infill(PREFIX, SUFFIX, config=CONFIG)
    assert prompts[-1] == [bos, pre, *prefix, suf, *suffix, mid]
    assert found.stats.prompt_tokens_count == len(prompts[-1]) and found.stats.predicted_tokens_count == 5
    assert "".join(str(each) for each in coder.infill_stream(PREFIX, SUFFIX, config=CONFIG)) == found.content
    coder.infill("", SUFFIX, config=CONFIG)
    assert prompts[-1] == [bos, pre, suf, *suffix, mid]
    coder.infill(PREFIX, "", config=CONFIG)
    assert prompts[-1] == [bos, pre, *prefix, suf, mid]


def test_control_tokens_in_the_texts_are_text(coder: lm.LLM, prompts: list[Any]) -> None:
    specials = {coder.tokenize(BOS)[-1], *INFILL}
    coder.infill(f"a{BOS}b", f"c{BOS}{BOS}", config=CONFIG)
    inner = prompts[-1][2:-1]
    inner.remove(INFILL[1])
    assert not specials & set(inner)


def test_what_is_nearest_to_the_gap_stays_in_a_full_context(coder: lm.LLM, prompts: list[Any]) -> None:
    pre, suf, mid = INFILL
    before, after = (" a" * 400, " b" * 400)
    a, b = coder.tokenize(before)[-1], coder.tokenize(after)[-1]
    found = coder.infill(f"start{before} near", f" close{after}end", config=CONFIG)
    assert found.stats.predicted_tokens_count == 5
    (bos,) = coder.tokenize("")
    prompt = prompts[-1]
    middle = prompt.index(suf)
    prefix, suffix = prompt[2:middle], prompt[middle + 1 : -1]
    assert prompt[:2] == [bos, pre] and prompt[-1] == mid and len(prompt) == 256 - 5
    assert prefix == [*[a] * (len(prefix) - 1), *coder.tokenize(" near")[1:]]
    assert suffix == [*coder.tokenize(" close")[1:], *[b] * (len(suffix) - 1)]
    assert len(suffix) == (256 - 5 - 4) // 4
    coder.infill("x", after, config=CONFIG)
    assert len(prompts[-1]) == 256 - 5 and prompts[-1][2:4] == [*coder.tokenize("x")[1:], suf]
    coder.infill(before, "", config={"temperature": 0, "max_tokens": 200})
    assert len(prompts[-1]) == 256 - 64


async def test_so_it_is_in_the_async_api(coder: lm.LLM) -> None:
    expected = coder.infill(PREFIX, SUFFIX, config=CONFIG).content
    async with lm.AsyncClient("embedded") as client:
        model = await client.llm.model("tiny-templated")
        assert (await model.infill(PREFIX, SUFFIX, config=CONFIG)).content == expected
        pieces = [str(each) async for each in model.infill_stream(PREFIX, SUFFIX, config=CONFIG)]
        assert "".join(pieces) == expected
