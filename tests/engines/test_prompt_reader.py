"""Long prompts are read in steps: small ones while other predictions run, whole batches where none does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from studiolo.domain.chat import Message, Text, Tool
from studiolo.domain.generation import Fragment
from studiolo.domain.progress import PromptProgress
from studiolo.engines.base import Completed, Engine, EngineEvent, ToolChatRequest
from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.engines.llama_cpp.kind import LlamaCppKind
from studiolo.engines.llama_cpp.prompt_reader import QUICK_STEP_BATCHES, STEP_TOKENS
from studiolo.paths import Home
from tests.support.engine_calls import request, run
from tests.support.engines import node_in, spec_of

BATCH = 512


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the beginnings that engines were asked to read. Small steps are as small as they get."""
    found: list[int] = []
    read = LlamaServerClient.read

    async def note(client: LlamaServerClient, tokens: Sequence[int]) -> int:
        found.append(len(tokens))
        return await read(client, tokens)

    monkeypatch.setattr(LlamaServerClient, "read", note)
    monkeypatch.setattr("studiolo.engines.llama_cpp.prompt_reader.STEP_SEC", 0)
    return found


@contextlib.asynccontextmanager
async def started(home: Home, folder: Path, **config: Any) -> AsyncGenerator[Engine]:
    settings = {"context_length": 2048, "max_parallel_predictions": 3, "prompt_cache_mib": 0, **config}
    engine = await LlamaCppKind(node_in(folder)).start(spec_of(next(home.models.rglob("*.gguf")), **settings))
    try:
        yield engine
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def another_answer(engine: Engine) -> AsyncGenerator[None]:
    """An answer that is generated for the length of the block."""
    begun = asyncio.Event()

    async def generate() -> None:
        while True:
            async for event in engine.complete(request("1 2 3", max_tokens=1500)):
                if isinstance(event, Fragment):
                    begun.set()

    task = asyncio.create_task(generate())
    await begun.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def long_text(first: str, words: int = 900) -> str:
    return f"{first}: " + " ".join(f"w{number}" for number in range(words // 3))


def end_of(events: Sequence[object]) -> Completed:
    (end,) = (event for event in events if isinstance(event, Completed))
    return end


def text_of(events: Sequence[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, Fragment))


async def test_a_long_prompt_is_read_in_small_steps_while_another_answer_is_generated(
    quick_home: Home, tmp_path: Path, reads: list[int]
) -> None:
    async with started(quick_home, tmp_path, max_parallel_predictions=1) as engine:
        expected = await run(engine, long_text("beside"), max_tokens=6)
        assert reads == [], "nobody else can come"
    total = end_of(expected).prompt_tokens
    assert total > BATCH + STEP_TOKENS
    async with started(quick_home, tmp_path) as engine:
        alone = await run(engine, long_text("alone"), max_tokens=6)
        assert reads == list(range(BATCH, end_of(alone).prompt_tokens, BATCH))
        assert_progress(alone, cached=0)

        reads.clear()
        async with another_answer(engine):
            beside = await run(engine, long_text("beside"), max_tokens=6)
            assert reads == list(range(STEP_TOKENS, total, STEP_TOKENS))
            assert_progress(beside, cached=0)
            assert (text_of(beside), end_of(beside).prompt_tokens) == (text_of(expected), total)
            end = end_of(beside)
            assert end.cached_tokens == 0 and end.predicted_tokens == 6 and (end.prompt_sec or 0) > 0

            reads.clear()  # what is known is not read again, and above all not given up
            turn = long_text("beside") + text_of(beside) + long_text(" and", 300)
            again = await run(engine, turn, max_tokens=6)
            assert reads[0] >= total
            assert (end_of(again).cached_tokens or 0) >= total - 1
            assert_progress(again, cached=end_of(again).cached_tokens)

            reads.clear()
            await run(engine, "Hi", max_tokens=2)
            assert reads == [], "a short prompt is one step"

        await run(engine, long_text("later"), max_tokens=2)
        assert reads == list(range(BATCH, end_of(alone).prompt_tokens, BATCH)), "the other has ended"


def assert_progress(events: Sequence[EngineEvent], cached: int | None) -> None:
    """One prompt, read from what is cached to its end, whatever the number of requests."""
    reported = [event for event in events if isinstance(event, PromptProgress)]
    (total,) = {event.total for event in reported}
    assert total == end_of(events).prompt_tokens
    assert {event.cached for event in reported} == {cached}
    counts = [event.processed for event in reported]
    assert counts == sorted(counts) and counts[-1] <= total


async def test_a_long_prompt_in_the_middle_of_which_somebody_comes_is_read_on_in_small_steps(
    quick_home: Home, tmp_path: Path, reads: list[int]
) -> None:
    async with started(quick_home, tmp_path) as engine:
        events = engine.complete(request(long_text("first", 1400), max_tokens=3))
        assert isinstance(await anext(events), PromptProgress)
        assert reads == [BATCH]
        async with another_answer(engine):
            rest = [event async for event in events]
        assert reads[1:4] == [BATCH + STEP_TOKENS * step for step in (1, 2, 3)]
        assert end_of(rest).cached_tokens == 0


async def test_an_engine_that_reads_a_batch_in_the_time_of_a_step_is_given_many_at_once(
    quick_home: Home, tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studiolo.engines.llama_cpp.prompt_reader.STEP_SEC", 1000)  # any engine does
    async with started(quick_home, tmp_path, context_length=8192) as engine, another_answer(engine):
        first = await run(engine, long_text("first", 1400), max_tokens=3)
        assert end_of(first).prompt_tokens > 2 * BATCH
        assert len(reads) == 1 and reads[0] < BATCH, "how fast it is was not known before"
        reads.clear()
        await run(engine, long_text("second", 1400), max_tokens=3)
        assert reads == [], "it is not worth a step"
        end = end_of(await run(engine, long_text("third", 4900), max_tokens=3))
        assert reads == [QUICK_STEP_BATCHES * BATCH] and end.prompt_tokens > reads[0]


async def test_a_prompt_that_is_given_up_is_not_taken_for_read(
    quick_home: Home, tmp_path: Path, reads: list[int]
) -> None:
    async with started(quick_home, tmp_path) as engine, another_answer(engine):
        events = engine.complete(request(long_text("given up"), max_tokens=3))
        await anext(events)
        await events.aclose()
        reads.clear()
        finished = await run(engine, long_text("given up"), max_tokens=3)
        assert reads[:2] == [STEP_TOKENS, 2 * STEP_TOKENS]
        assert end_of(finished).predicted_tokens == 3


async def test_a_long_chat_with_tools_is_read_in_steps(quick_home: Home, tmp_path: Path, reads: list[int]) -> None:
    def chat(text: str) -> ToolChatRequest:
        return ToolChatRequest(
            messages=[Message("user", [Text(text)])],
            tools=[Tool("weather", "The weather.", {"type": "object", "properties": {}})],
            config=request("", max_tokens=4).config,
        )

    async with started(quick_home, tmp_path) as engine:
        alone = [event async for event in engine.chat_with_tools(chat(long_text("red")))]
        assert reads == list(range(BATCH, end_of(alone).prompt_tokens, BATCH))
        reads.clear()
        async with another_answer(engine):
            beside = [event async for event in engine.chat_with_tools(chat(long_text("ten")))]
        same = reads[0] - STEP_TOKENS  # what the template begins with
        assert 0 < same < STEP_TOKENS and reads[1:3] == [reads[0] + STEP_TOKENS, reads[0] + 2 * STEP_TOKENS]
        assert end_of(beside).prompt_tokens == end_of(alone).prompt_tokens
        assert (end_of(beside).cached_tokens or 0) <= same


async def test_a_prompt_that_does_not_fit_is_refused_before_any_of_it_is_read(
    quick_home: Home, tmp_path: Path, reads: list[int]
) -> None:
    async with started(quick_home, tmp_path, context_length=1024) as engine, another_answer(engine):
        with pytest.raises(Exception, match=r"too long|context"):
            await run(engine, long_text("too long", 3000), max_tokens=3)
        assert reads == []
