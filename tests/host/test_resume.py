"""An engine that dies in the middle of an answer, on the fake engine: the answer is continued, or is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import studiolo_fake_engine as fake

from studiolo.config import PredictionConfig, StructuredSetting
from studiolo.domain.chat import ChatRequest, Message, Text
from studiolo.domain.generation import Fragment, PredictionResult
from studiolo.domain.models import ModelReference
from studiolo.errors import EngineDiedError, QuarantinedError, UnsupportedError
from studiolo.host.host import Host
from studiolo.host.predictions import PredictionEvent
from studiolo.host.prompt_progress import PromptReport
from studiolo.host.resume import MAX_RESTARTS
from tests.support.fake_host import until

TOKENS = ("One ", "two ", "three ", "four ", "five ", "six.")


async def events_of(host: Host, prompt: str | ChatRequest = "Count: ", **config: object) -> list[PredictionEvent]:
    async with host.lease(ModelReference(name="alpha"), "llm") as lease:
        prediction = host.predict(lease, prompt, PredictionConfig(**config))  # type: ignore[arg-type]
        try:
            return [event async for event in prediction.events()]
        finally:
            await prediction.close()


def text_of(events: Sequence[PredictionEvent], reasoning: str | None = None) -> str:
    fragments = [event for event in events if isinstance(event, Fragment)]
    return "".join(each.text for each in fragments if reasoning in (None, each.reasoning))


def end_of(events: Sequence[PredictionEvent]) -> PredictionResult:
    result = events[-1]
    assert isinstance(result, PredictionResult)
    return result


def script(**settings: object) -> fake.FakeModel:
    fake.models["alpha"] = fake.FakeModel(**{"tokens": TOKENS, "continues": True, "deaths": 1, **settings})  # type: ignore[arg-type]
    return fake.models["alpha"]


@pytest.mark.parametrize("dies_after", range(len(TOKENS) + 1))
@pytest.mark.parametrize("config", [{"temperature": 0}, {}, {"on_engine_failure": "resume"}])
async def test_no_token_is_lost_or_doubled(fake_host: Host, dies_after: int, config: dict[str, object]) -> None:
    script(dies_after=dies_after)
    events = await events_of(fake_host, **config)
    result = end_of(events)
    assert text_of(events) == "".join(TOKENS)
    assert result.engine_restarts == 1 and len(fake.engines) == 2
    assert result.stop_reason == "end_of_text"
    assert (result.usage.prompt_tokens, result.usage.predicted_tokens) == (2, len(TOKENS))
    assert fake.engines[1].requests[0].prompt == "Count: " + "".join(TOKENS[:dies_after])
    reports = [event.ratio for event in events if isinstance(event, PromptReport)]
    assert reports == sorted(reports) and reports.count(1.0) == 1


async def test_without_a_death_nothing_is_said_of_one(fake_host: Host) -> None:
    script(deaths=0)
    assert end_of(await events_of(fake_host)).engine_restarts == 0


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6])
async def test_the_limit_of_tokens_holds_over_both_engines(fake_host: Host, limit: int) -> None:
    script(dies_after=2)
    events = await events_of(fake_host, max_tokens=limit)
    result = end_of(events)
    assert text_of(events) == "".join(TOKENS[:limit])
    assert result.stop_reason == "max_tokens"
    assert result.usage.predicted_tokens == limit
    assert result.engine_restarts == (limit >= 2)


async def test_a_stop_string_ends_the_continued_answer(fake_host: Host) -> None:
    script(dies_after=2)
    events = await events_of(fake_host, stop_strings=["five"])
    assert text_of(events) == "One two three four "
    assert (end_of(events).stop_reason, end_of(events).stop_string) == ("stop_string", "five")


@pytest.mark.parametrize("dies_after", [1, 2, 3, 4])
async def test_reasoning_stays_reasoning(fake_host: Host, dies_after: int) -> None:
    script(tokens=("<think>", "hm ", "hm</", "think>", "Yes."), dies_after=dies_after)
    events = await events_of(fake_host)
    assert text_of(events, "reasoning") == "hm hm"
    assert text_of(events, "none") == "Yes."
    assert end_of(events).engine_restarts == 1


@pytest.mark.parametrize("dies_after", [1, 2, 3])
async def test_the_budget_of_reasoning_holds_over_both_engines(fake_host: Host, dies_after: int) -> None:
    script(tokens=("<think>", "a ", "b ", "c ", "d ", "</think>", "Yes."), dies_after=dies_after)
    events = await events_of(fake_host, reasoning_budget=3, max_tokens=10)
    assert text_of(events, "reasoning") == "a b c "
    assert end_of(events).engine_restarts == 1


async def test_chats_are_continued_too(fake_host: Host) -> None:
    script(dies_after=3)
    events = await events_of(fake_host, ChatRequest(messages=[Message("user", [Text("Hello")])]))
    assert text_of(events) == "".join(TOKENS)
    assert fake.engines[1].requests[0].prompt == "HelloOne two three "


async def test_a_prompt_that_was_cut_and_an_answer_beyond_the_context(fake_host: Host) -> None:
    script(dies_after=3)
    long = " ".join(f"w{number}" for number in range(5000))
    events = await events_of(fake_host, long, context_overflow_policy="rollingWindow")
    assert text_of(events) == "".join(TOKENS)
    again = fake.engines[1].requests[0].prompt
    assert len(again) < 5000


@pytest.mark.parametrize(
    "config",
    [
        {"on_engine_failure": "error"},
        {"raw_tools": {"type": "toolArray", "tools": [{"type": "function", "function": {"name": "f"}}]}},
    ],
)
async def test_otherwise_it_is_an_error(fake_host: Host, config: dict[str, object]) -> None:
    script(dies_after=2)
    prompt = ChatRequest(messages=[Message("user", [Text("Hello")])])
    with pytest.raises(EngineDiedError, match="SIGSEGV"):
        await events_of(fake_host, prompt, **config)
    assert len(fake.engines) == 1
    assert text_of(await events_of(fake_host, prompt)) == "".join(TOKENS), "the next request restarts it"


async def test_what_cannot_be_continued_is_refused_by_name(fake_host: Host) -> None:
    script()
    with pytest.raises(UnsupportedError, match="on_engine_failure"):
        await events_of(fake_host, on_engine_failure="resume", structured=StructuredSetting(type="json"))
    assert fake.running()[0].requests == []


async def test_an_answer_is_continued_a_bounded_number_of_times(fake_host: Host) -> None:
    script(dies_after=1, deaths=None)
    with pytest.raises(EngineDiedError):
        await events_of(fake_host)
    assert len(fake.engines) == MAX_RESTARTS + 1


async def test_a_prompt_that_kills_engines_is_tried_twice(fake_host: Host) -> None:
    script(dies_after=0, deaths=None)
    with pytest.raises(EngineDiedError):
        await events_of(fake_host)
    assert len(fake.engines) == 2
    assert len(fake_host.instances.crashes.reports) == 2
    assert all("0 tokens out" in report.running[0] for report in fake_host.instances.crashes.reports)


async def test_each_death_counts_for_the_quarantine(fake_host: Host) -> None:
    fake_host.home.settings.write_text(fake_host.home.settings.read_text() + "[limits]\ncrash_limit = 3\n")
    script(dies_after=0, deaths=None)
    for _ in range(2):  # the third death, of the second answer's first engine, is one too many
        with pytest.raises(EngineDiedError):
            await events_of(fake_host)
    with pytest.raises(QuarantinedError):
        await events_of(fake_host)
    assert len(fake.engines) == 3


async def test_all_answers_of_an_engine_are_continued_on_one(fake_host: Host) -> None:
    model = script()
    model.token = fake.Step(gate=asyncio.Event())
    answers = [asyncio.create_task(events_of(fake_host)) for _ in range(3)]
    await until(lambda: fake.engines and fake.engines[0].in_slots == 3)
    fake.engines[0].kill()
    assert model.token.gate is not None
    model.token.gate.set()
    for answer in answers:
        events = await answer
        assert text_of(events) == "".join(TOKENS) and end_of(events).engine_restarts == 1
    assert len(fake.engines) == 2


async def test_cancelling_while_the_engine_is_restarted(fake_host: Host) -> None:
    model = script(dies_after=2)
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        model.load = fake.Step(gate=asyncio.Event())
        prediction = fake_host.predict(lease, "Count: ", PredictionConfig())
        await until(lambda: len(fake.engines) == 2)
        prediction.stop()
        events = [event async for event in prediction.events()]
    assert text_of(events) == "One two "
    assert end_of(events).stop_reason == "cancelled" and end_of(events).usage.predicted_tokens == 2
    assert model.load.gate is not None
    model.load.gate.set()


async def test_unloading_while_the_engine_is_restarted(fake_host: Host) -> None:
    model = script(dies_after=2)
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        model.load = fake.Step(gate=asyncio.Event())
        prediction = fake_host.predict(lease, "Count: ", PredictionConfig())
        await until(lambda: len(fake.engines) == 2)
        unloading = lease.instance.unload("by a test")
        assert model.load.gate is not None
        model.load.gate.set()
        events = [event async for event in prediction.events()]
        await unloading
    assert end_of(events).stop_reason == "unloaded" and text_of(events) == "One two "
