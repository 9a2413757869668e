"""An engine that dies during a call without an effect but its result, on the fake engine: it is repeated once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import studiolo_fake_engine as fake

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.chat import ChatRequest, Message, Text
from studiolo.domain.decisions import Question
from studiolo.domain.models import ModelReference
from studiolo.engines.base import TemplateRequest
from studiolo.errors import EngineDiedError, ModelFileError, ModelUnloadedError
from studiolo.host.decisions import decide
from studiolo.host.host import Host
from studiolo.host.lease import Lease
from studiolo.host.on_demand import LoadRequest
from studiolo.host.scoring import score_prompt
from studiolo.host.token_counts import count_tokens
from tests.support.fake_host import until

MESSAGES = [Message("user", [Text("Is it so?")])]
CHAT = ChatRequest(messages=MESSAGES)
CONFIG = PredictionConfig()
QUESTIONS = [Question(text="Is it?", choices=["yes", "no"]), Question(text="Why?", choices=["a b", "a c"])]

Call = Callable[[Host, Lease], Awaitable[Any]]
TOKENIZING: dict[str, Call] = {
    "tokens": lambda host, lease: lease.call(lambda engine: engine.tokenize("one two")),
    "template": lambda host, lease: host.apply_template(lease, TemplateRequest(messages=MESSAGES), CONFIG),
    "token count": lambda host, lease: count_tokens(host, lease, CHAT, CONFIG),
    "tokens of choices": lambda host, lease: decide(host, lease, CHAT, QUESTIONS, CONFIG),
    "tokens of a prompt that is scored": lambda host, lease: score_prompt(host, lease, "one two three", 1),
}
SCORING: dict[str, Call] = {
    "choices": lambda host, lease: decide(host, lease, CHAT, QUESTIONS, CONFIG),
    "prompt": lambda host, lease: score_prompt(host, lease, "one two three", 1),
}
EMBEDDING: dict[str, Call] = {
    "embeddings": lambda host, lease: lease.embed(["one", "two three"]),
    "relevance": lambda host, lease: lease.rerank("one", ["one two", "three"]),
}
CALLS = {
    **{name: ("tokenize", each) for name, each in TOKENIZING.items()},
    **{name: ("token", each) for name, each in SCORING.items()},
    **{name: ("embed", each) for name, each in EMBEDDING.items()},
}


@pytest.fixture(params=CALLS)
def call(request: Any) -> Call:
    return CALLS[request.param][1]


@pytest.fixture
def step(request: Any, call: Call) -> Iterator[fake.Step]:
    """The step of the engine that the call waits in, while its gate is closed."""
    kind = next(kind for kind, each in CALLS.values() if each is call)
    model = fake.models["vectors" if kind == "embed" else "alpha"]
    model.scores = True
    yield getattr(model, kind)


async def run(host: Host, call: Call) -> Any:
    if call in EMBEDDING.values():
        config = LoadConfig(pooling_type="rank" if call is EMBEDDING["relevance"] else "mean")
        reference, domain = ModelReference(name="vectors"), "embedding"
    else:
        config, reference, domain = LoadConfig(), ModelReference(name="alpha"), "llm"
    async with host.lease(reference, domain, "", LoadRequest(config=config)) as lease:  # type: ignore[arg-type]
        return await call(host, lease)


async def test_it_is_repeated_on_the_next_engine(fake_host: Host, call: Call, step: fake.Step) -> None:
    expected = await run(fake_host, call)
    step.gate = asyncio.Event()
    running = [asyncio.create_task(run(fake_host, call)) for _ in range(3)]
    await until(lambda: fake.engines[0].active >= 3)
    fake.engines[0].kill()
    step.gate.set()
    assert await asyncio.gather(*running) == [expected] * 3
    assert len(fake.engines) == len(fake_host.instances.crashes.reports) + 1 == 2


async def test_it_is_repeated_once(fake_host: Host, call: Call, step: fake.Step) -> None:
    step.gate = asyncio.Event()
    running = asyncio.create_task(run(fake_host, call))
    for number in range(2):
        await until(lambda number=number: len(fake.engines) > number and fake.engines[number].active)
        fake.engines[number].kill()
    with pytest.raises(EngineDiedError, match=f"{fake.engines[1].process.pid} ended unexpectedly"):
        await running
    assert len(fake.engines) == len(fake_host.instances.crashes.reports) == 2
    step.gate = None
    await run(fake_host, call)


EMBED = EMBEDDING["embeddings"]


@pytest.fixture
def embed() -> fake.Step:
    """The step of the engine that embeddings wait in."""
    step = fake.models["vectors"].embed
    step.gate = asyncio.Event()
    return step


async def begun(host: Host) -> asyncio.Task[Any]:
    """A call for embeddings that waits in its engine."""
    running = asyncio.create_task(run(host, EMBED))
    await until(lambda: fake.engines and fake.engines[0].active)
    return running


async def test_it_is_not_repeated_where_the_model_is_quarantined(fake_host: Host, embed: fake.Step) -> None:
    fake_host.home.settings.write_text(fake_host.home.settings.read_text() + "[limits]\ncrash_limit = 1\n")
    running = await begun(fake_host)
    fake.engines[0].kill()
    with pytest.raises(EngineDiedError, match="SIGKILL"):
        await running
    assert len(fake.engines) == 1


async def test_it_is_not_repeated_where_no_engine_starts(fake_host: Host, embed: fake.Step) -> None:
    running = await begun(fake_host)
    fake.models["vectors"].load_fails = True
    fake.engines[0].kill()
    with pytest.raises(EngineDiedError, match=f"{fake.engines[0].process.pid} ended unexpectedly"):
        await running
    assert len(fake.engines) == 2


async def test_it_is_not_repeated_with_another_file(fake_host: Host, embed: fake.Step) -> None:
    running = await begun(fake_host)
    path = next(fake_host.home.models.rglob("vectors.gguf"))
    path.write_bytes(path.read_bytes() + b"more")
    fake.engines[0].kill()
    with pytest.raises(ModelFileError, match="has changed"):
        await running
    assert len(fake.engines) == 1


async def test_the_model_is_unloaded_while_the_next_engine_starts(fake_host: Host, embed: fake.Step) -> None:
    running = await begun(fake_host)
    fake.models["vectors"].load.gate = asyncio.Event()
    fake.engines[0].kill()
    await until(lambda: len(fake.engines) == 2)
    (instance,) = fake_host.instances.all()
    unloading = instance.unload("by a test")
    with pytest.raises(ModelUnloadedError, match="by a test"):
        await running
    await unloading


async def test_it_is_cancelled_while_the_next_engine_starts(fake_host: Host, embed: fake.Step) -> None:
    running = await begun(fake_host)
    fake.models["vectors"].load.gate = asyncio.Event()
    fake.engines[0].kill()
    await until(lambda: len(fake.engines) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not fake.running())
