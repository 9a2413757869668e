"""What is expected of every engine kind. A module for each kind derives from :class:`EngineContract`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from studiolo.config import LoadConfig
from studiolo.domain.chat import Message, Text
from studiolo.domain.generation import Fragment
from studiolo.domain.model_shape import LayerShape, ModelShape
from studiolo.domain.models import Domain
from studiolo.engines.base import Completed, Engine, EngineKind, TemplateRequest, ToolChatRequest
from studiolo.engines.spec import Capabilities, Device, EngineSpec, Finding, LoadProgress, ProcessRef
from studiolo.errors import EngineDiedError, EngineError, EngineStartError, PromptTooLongError, UnsupportedError
from tests.support.engine_calls import request, run
from tests.support.engines import spec_of
from tests.support.running import PATIENCE_SEC, children, has_ended

CONTEXT = 512
ENDLESS = {"repeat_penalty": False}
"""With which a model that counts, or repeats itself, continues until its context is full."""

ROLLING: dict[str, Any] = {**ENDLESS, "context_overflow_policy": "rollingWindow"}
"""With which it continues for good."""

SHAPE = ModelShape(
    name="made up",
    domain="llm",
    layers=[LayerShape(64, 64, 0, 1 << 20)] * 4,
    other_weight_bytes=1 << 20,
    heads=4,
    head_size=64,
    embedding_length=256,
    feed_forward_length=512,
    vocabulary=1000,
    state_bytes=0,
    drafting_layers=0,
    tokenizer={},
)


def kill(engine: Engine) -> None:
    """End the engine's process as a crash does."""
    os.kill(engine.process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Case:
    """A kind under test.

    Parameters:
        node: the name of the kind's node.
        model: the file of a model that generates text.
        embedder: the file of a model that computes embeddings.
        bad: a file that the kind cannot load.
        refusal: what the error of loading that file says.
        crash: ends an engine unexpectedly.
        death: what the error of a crash says.
        in_process: whether its engines have no process.
    """

    kind: EngineKind
    node: str
    model: Path
    embedder: Path
    bad: Path
    refusal: str = r"invalid magic|failed to load"
    crash: Callable[[Any], None] = kill
    death: str = "SIGKILL"
    in_process: bool = False

    def spec(self, domain: Domain = "llm", **config: Any) -> EngineSpec:
        model = self.embedder if domain == "embedding" else self.model
        return spec_of(model, domain=domain, context_length=CONTEXT, **config)


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Fragment))


class EngineContract:
    """The tests. A derived class has a fixture ``case``."""

    @pytest.fixture
    async def engine(self, case: Case) -> AsyncIterator[Engine]:
        engine = await case.kind.start(case.spec())
        yield engine
        await engine.stop()

    @pytest.fixture
    async def embedder(self, case: Case) -> AsyncIterator[Engine]:
        engine = await case.kind.start(case.spec("embedding"))
        yield engine
        await engine.stop()

    async def test_a_kind_says_what_it_is(self, case: Case) -> None:
        assert case.kind.name and await case.kind.version()
        assert isinstance(await case.kind.capabilities(), Capabilities)
        assert all(isinstance(each, Device) and each.gpu for each in await case.kind.devices())
        assert all(isinstance(each, Finding) and each.what for each in await case.kind.diagnose())

    def test_an_estimate_never_shrinks_with_the_context_and_is_spread_over_the_devices(self, case: Case) -> None:
        main = Device(name="main memory", free_bytes=8 << 30, total_bytes=8 << 30, gpu=False)
        gpu = Device(name="gpu", free_bytes=1 << 30, total_bytes=1 << 30)

        def total(context: int) -> int:
            config = LoadConfig(context_length=context, max_parallel_predictions=2)
            need = case.kind.estimate(SHAPE, config, [main, gpu])
            assert min(need.weights, need.kv_cache, need.compute, need.checkpoints, need.engine) >= 0
            assert not need.on_devices or (len(need.on_devices) == 2 and sum(need.on_devices) == need.total)
            return need.total

        assert 0 < total(256) <= total(4096)

    async def test_a_start_emits_its_progress_and_returns_what_runs(self, case: Case) -> None:
        emitted: list[LoadProgress] = []
        engine = await case.kind.start(case.spec(), emitted.append)
        try:
            fractions = [each.fraction for each in emitted]
            assert fractions == sorted(fractions) and all(0 <= each <= 1 for each in fractions)
            assert (engine.name, engine.version) == (case.kind.name, await case.kind.version())
            assert engine.capabilities == await case.kind.capabilities()
            assert isinstance(engine.process, ProcessRef) and engine.process.node == case.node
            assert case.in_process or psutil.pid_exists(engine.process.pid)
            assert not engine.exited.is_set() and engine.note is None
            await engine.health()
        finally:
            await engine.stop()

    async def test_a_completion_is_fragments_and_then_its_end(self, engine: Engine) -> None:
        events = await run(engine, "1 2 3 4 5", max_tokens=6, **ENDLESS)
        end = events[-1]
        assert isinstance(end, Completed) and not any(isinstance(event, Completed) for event in events[:-1])
        assert (end.stop_reason, end.predicted_tokens) == ("max_tokens", 6)
        assert end.prompt_tokens == len(await engine.tokenize("1 2 3 4 5"))
        fragments = [event for event in events if isinstance(event, Fragment)]
        assert sum(fragment.tokens for fragment in fragments) <= 6 and text_of(events)
        for figure in (end.prompt_sec, end.decode_sec, end.tokens_per_second, end.cached_tokens):
            assert figure is None or figure >= 0

    async def test_a_stop_string_ends_an_answer_and_is_not_part_of_it(self, engine: Engine) -> None:
        prompt = "1 2 3 4 5 6 7 8 1 2 3 4"
        free = text_of(await run(engine, prompt, max_tokens=12, **ENDLESS))
        stop = max(free.strip(), key=free.index)  # the character that comes last for the first time
        events = await run(engine, prompt, stop_strings=[stop], **ENDLESS)
        end = events[-1]
        assert isinstance(end, Completed)
        assert (end.stop_reason, end.stop_string) == ("stop_string", stop)
        assert text_of(events) == free.partition(stop)[0]

    async def test_a_full_context_ends_an_answer(self, engine: Engine) -> None:
        end = (await run(engine, "1 2 3 4 " * (CONTEXT // 9), **ENDLESS))[-1]
        assert isinstance(end, Completed) and end.stop_reason == "context_full"
        assert end.prompt_tokens + end.predicted_tokens >= CONTEXT - 1

    async def test_a_prompt_longer_than_the_context_is_refused(self, engine: Engine) -> None:
        with pytest.raises(PromptTooLongError, match=str(CONTEXT)):
            await run(engine, "hello " * 1000)
        assert await run(engine, "1 2 3", max_tokens=1)

    async def test_closing_an_answer_frees_its_slot(self, engine: Engine) -> None:
        for _ in range(6):  # three times as many as there are slots
            async with contextlib.aclosing(engine.complete(request("1 2 3 4", **ROLLING))) as events:
                async for event in events:
                    if isinstance(event, Fragment):
                        break
        async with asyncio.timeout(PATIENCE_SEC):
            await asyncio.gather(*(run(engine, "1 2 3", max_tokens=1) for _ in range(2)))

    async def test_tokens_become_the_text_that_they_came_from(self, engine: Engine) -> None:
        tokens = await engine.tokenize("My name is Ada. Größe: 5 €")
        assert tokens and (await engine.detokenize(tokens)).strip().endswith("My name is Ada. Größe: 5 €")

    async def test_a_chat_becomes_text(self, engine: Engine) -> None:
        messages = [Message("system", [Text("Be brief.")]), Message("user", [Text("What is the time?")])]
        prompt = await engine.apply_template(TemplateRequest(messages=messages))
        text = prompt if isinstance(prompt, str) else prompt.text
        assert text.index("Be brief.") < text.index("What is the time?")

    async def test_an_engine_without_tools_refuses_them(self, engine: Engine) -> None:
        if engine.capabilities.tools:
            assert isinstance(await engine.knows_tools(), bool)
            return
        assert not await engine.knows_tools()
        asked = ToolChatRequest(messages=[Message("user", [Text("x")])], tools=[], config=request("x").config)
        with pytest.raises(UnsupportedError) as caught:
            async for _ in engine.chat_with_tools(asked):
                pass
        assert caught.value.data["engineName"] == engine.name

    async def test_log_probabilities_come_where_the_engine_has_them(self, engine: Engine) -> None:
        if engine.capabilities.log_probabilities:
            events = await run(engine, "1 2 3 4", max_tokens=4, log_probs=2, **ENDLESS)
            entries = [entry for event in events if isinstance(event, Fragment) for entry in event.logprobs or ()]
            assert entries and all(entry.token.logprob <= 0 for entry in entries)

    async def test_texts_are_embedded_in_their_order_with_their_token_counts(self, embedder: Engine) -> None:
        if not embedder.capabilities.embeddings:
            pytest.skip("the kind computes no embeddings")
        texts = [f"number {number} " + "of many " * (number % 5) for number in range(70)]
        together = await embedder.embed(texts)
        assert len(together.vectors) == len(together.token_counts) == len(texts)
        for index in (0, 1, 33, 69):
            alone = await embedder.embed([texts[index]])
            assert alone.vectors[0] == pytest.approx(together.vectors[index], abs=0.02)
            assert alone.token_counts[0] == together.token_counts[index]
            assert alone.token_counts[0] == len(await embedder.tokenize(texts[index]))
        assert list((await embedder.embed([])).vectors) == []
        with pytest.raises(PromptTooLongError):
            await embedder.embed(["a", "word " * 1000])

    async def test_a_crash_fails_what_runs_and_what_comes_after(self, engine: Engine, case: Case) -> None:
        crashed = False
        with pytest.raises(EngineDiedError, match=case.death) as caught:
            async for event in engine.complete(request("1 2 3 4", **ROLLING)):
                if isinstance(event, Fragment) and not crashed:
                    case.crash(engine)
                    crashed = True
        assert case.in_process or caught.value.cause, "the end of its log is not in the error"
        async with asyncio.timeout(PATIENCE_SEC):
            await engine.exited.wait()
        assert case.death in str(engine.death())
        for call in (run(engine, "again"), engine.tokenize("again"), engine.health()):
            with pytest.raises(EngineError):
                await call
        await engine.stop()

    async def test_an_aborted_engine_ends_for_the_reason_given(self, engine: Engine) -> None:
        engine.abort("it was too slow")
        async with asyncio.timeout(PATIENCE_SEC):
            await engine.exited.wait()
        assert "it was too slow" in str(engine.death())

    async def test_stopping_ends_the_process_and_can_be_repeated(self, case: Case) -> None:
        engine = await case.kind.start(case.spec())
        process = None if case.in_process else psutil.Process(engine.process.pid)
        await engine.stop()
        await engine.stop()
        assert engine.exited.is_set()
        assert process is None or has_ended(process)

    async def test_a_model_that_cannot_be_loaded_is_an_error_with_the_engines_words(self, case: Case) -> None:
        spec = case.spec()
        bad = replace(spec.files.model, path=str(case.bad))
        with pytest.raises(EngineStartError, match=case.refusal):
            await case.kind.start(replace(spec, files=replace(spec.files, model=bad)))

    async def test_cancelling_a_start_leaves_no_process(self, case: Case) -> None:
        await case.kind.version()  # which may run a program
        before = children()
        starting = asyncio.create_task(case.kind.start(case.spec()))
        await asyncio.sleep(0.05)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).stop()  # where it was faster
        assert children() <= before
