"""A long prompt beside others: the engine takes it in small steps, and a cancelled one frees its slot after a step."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import studiolo as lm
from studiolo.config import DEFAULT_EVAL_BATCH, LoadConfig
from studiolo.engines.llama_cpp.params import worker_params
from tests.support.homes import ENDLESS
from tests.support.running import workers_of

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

LONG = "word " * 1600
LONGER = "word " * 3600
STEP = DEFAULT_EVAL_BATCH


@pytest.fixture(scope="module")
def llm(place: tuple[str, int]) -> Iterator[lm.LLM]:
    load = {"context_length": 4096, "max_parallel_predictions": 2, "prompt_cache_mib": 0}
    with lm.Client(place[0]) as client:
        llm = client.llm.load_new_instance("smollm2-135m-instruct", "steps", config=load)
        yield llm
        llm.unload()


async def test_a_stream_gets_tokens_while_a_long_prompt_is_read(llm: lm.LLM, place: tuple[str, int]) -> None:
    """One token a step at least, however fast the machine is: both come over one socket, in their order."""
    tokens = 0
    counts: list[int] = []
    async with lm.AsyncClient(place[0]) as client:
        own = await client.llm.model(llm.identifier)
        begun = asyncio.Event()

        async def read() -> None:
            nonlocal tokens
            async with own.complete_stream("1 2 3 4", config=ENDLESS) as stream:
                async for fragment in stream:
                    tokens += fragment.tokens_count
                    begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        result = await own.complete(
            LONG, config={"max_tokens": 1}, on_prompt_processing_progress=lambda _: counts.append(tokens)
        )
        reading.cancel()
        await asyncio.wait([reading])
    steps = (result.stats.prompt_tokens_count or 0) // STEP
    assert steps >= 3 and len(counts) > steps
    assert counts[-1] - counts[0] >= steps - 1, "the stream waited for more than one step"


def test_a_cancelled_prompt_is_read_no_further_than_a_step(llm: lm.LLM, place: tuple[str, int]) -> None:
    """Counted in the engine's processor time, which does not depend on what else the machine does."""
    (engine,) = workers_of(place[1])

    def spent() -> float:
        return sum(engine.cpu_times()[:2])

    before = spent()
    llm.complete(f"Apples. {LONGER}", config={"max_tokens": 1})
    whole = spent() - before
    for number in range(5):  # on a busy machine the prompt may be read before the host hears of the end
        reading = threading.Event()
        stream = llm.complete_stream(
            f"{number} pears. {LONGER}",
            config={"max_tokens": 5},
            on_prompt_processing_progress=lambda _, reading=reading: reading.set(),
        )
        thread = threading.Thread(target=lambda stream=stream: list(stream))
        thread.start()
        assert reading.wait(60)
        before = spent()
        stream.cancel()
        thread.join()
        if stream.result().stats.predicted_tokens_count == 0:
            break
    assert stream.result().stats.stop_reason == "userStopped"
    llm.complete("Hi", config={"max_tokens": 1})
    assert spent() - before < 0.6 * whole, "the rest of the prompt was read"


def test_a_larger_physical_batch_enlarges_the_step() -> None:
    config = LoadConfig(context_length=4096, max_parallel_predictions=1)
    assert (worker_params(config, "llm")["n_batch"], worker_params(config, "llm")["n_ubatch"]) == (512, 512)
    config = LoadConfig(context_length=4096, max_parallel_predictions=1, physical_batch_size=1024)
    assert (worker_params(config, "llm")["n_batch"], worker_params(config, "llm")["n_ubatch"]) == (1024, 1024)
