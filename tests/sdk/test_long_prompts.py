"""Progress on a long prompt, and cancelling at any point; embedded and served."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import studiolo as lm
from tests.support.homes import ENDLESS

pytestmark = [pytest.mark.quick_model, pytest.mark.served]

PROMPT = "word " * 400


@pytest.fixture(scope="module")
def slow(place: tuple[str, int]) -> Iterator[lm.LLM]:
    """A model that takes a prompt in many small steps, one prediction at a time."""
    load = {"context_length": 4096, "eval_batch_size": 32, "max_parallel_predictions": 1, "prompt_cache_mib": 0}
    with lm.Client(place[0]) as client:
        llm = client.llm.load_new_instance("smollm2-135m-instruct", "slow", config=load)
        yield llm
        llm.unload()


def fresh(number: int) -> str:
    """A long prompt that no cache knows."""
    return f"{number} {PROMPT}"


def test_progress_is_reported_step_by_step(slow: lm.LLM) -> None:
    observed: list[float] = []
    result = slow.complete(fresh(1), config={"max_tokens": 1}, on_prompt_processing_progress=observed.append)
    assert observed[0] == 0.0 and observed[-1] == 1.0 and observed == sorted(set(observed))
    steps = [
        (after - before) * (result.stats.prompt_tokens_count or 0) for before, after in itertools.pairwise(observed)
    ]
    assert len(observed) > 8, observed
    assert max(steps) < 100, "no step is much longer than a batch"


def test_cancelling_while_the_prompt_is_processed(slow: lm.LLM) -> None:
    observed: list[float] = []
    fragments: list[lm.Fragment] = []
    messages: list[Any] = []

    def cancelled(prompt: str) -> lm.PredictionResult:
        for each in (observed, fragments, messages):
            each.clear()

        def note(progress: float) -> None:
            observed.append(progress)
            if progress > 0.1:
                stream.cancel()

        stream = slow.complete_stream(
            prompt,
            config=ENDLESS,
            on_prompt_processing_progress=note,
            on_prediction_fragment=fragments.append,
            on_message=messages.append,
        )
        return stream.wait_for_result()

    for number in range(5):  # a busy machine may be done with a prompt before the host hears of the end
        result = cancelled(f"{number} cancelled: {'word ' * 3000}")
        if result.stats.predicted_tokens_count == 0:
            break
    assert (result.stats.stop_reason, result.content, fragments) == ("userStopped", "", [])
    assert result.stats.predicted_tokens_count == 0
    assert observed[-1] < 1, "what was left of the prompt is not reported as done"
    assert [message.content[0].text for message in messages] == [""]
    assert slow.complete("1 2 3", config={"max_tokens": 1}).stats.stop_reason == "maxPredictedTokensReached"


def test_cancelling_while_it_waits_for_a_slot(slow: lm.LLM) -> None:
    with slow.complete_stream("1 2 3 4 5 6 7", config=ENDLESS) as first:
        running = iter(first)
        assert next(running).content
        second = slow.complete_stream("1 2 3", config=ENDLESS)
        second.start()
        second.cancel()  # it may not even have reached the host
        assert second.wait_for_result().stats.stop_reason == "userStopped"
        places: list[int | None] = []

        def leave(_: float) -> None:
            places.append(third.queue_position)
            third.cancel()

        third = slow.complete_stream("1 2 3", config=ENDLESS, on_prompt_processing_progress=leave)
        assert third.wait_for_result().stats.stop_reason == "userStopped"
        assert places == [1]
        first.cancel()


def test_cancelling_twice_and_after_the_end_changes_nothing(slow: lm.LLM) -> None:
    stream = slow.complete_stream("1 2 3", config={"max_tokens": 2, "temperature": 0})
    result = stream.wait_for_result()
    stream.cancel()
    stream.cancel()
    stream.close()
    assert stream.result() is result
    assert result.stats.stop_reason == "maxPredictedTokensReached"
    stopped = slow.complete_stream("1 2 3 4 5 6 7", config=ENDLESS)
    for _ in stopped:
        stopped.cancel()
        stopped.cancel()
    assert stopped.result().stats.stop_reason == "userStopped"


def test_a_stream_is_a_context_manager_that_stops_what_runs(slow: lm.LLM) -> None:
    with slow.complete_stream("1 2 3 4 5 6 7", config=ENDLESS) as stream:
        assert next(iter(stream)).content
    with pytest.raises(lm.CancelledError):
        stream.result()
    with slow.complete_stream("1 2 3", config={"max_tokens": 2}) as stream:
        text = "".join(fragment.content for fragment in stream)
    assert stream.result().content == text
    with pytest.raises(ZeroDivisionError), slow.complete_stream("1 2 3 4 5 6 7", config=ENDLESS) as stream:
        next(iter(stream))
        _ = 1 / 0
    assert slow.complete("1 2 3", config={"max_tokens": 1}).stats.stop_reason == "maxPredictedTokensReached"


async def test_the_async_api_does_the_same(place: tuple[str, int], slow: lm.LLM) -> None:
    threads: set[threading.Thread] = set()
    loops: set[asyncio.AbstractEventLoop] = set()
    observed: list[float] = []

    def note(progress: float) -> None:
        observed.append(progress)
        threads.add(threading.current_thread())
        loops.add(asyncio.get_running_loop())

    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model(slow.identifier)
        stream = llm.complete_stream(fresh(3), config=ENDLESS, on_prompt_processing_progress=note)
        count = 0
        async for _ in stream:
            count += 1
            if count == 2:
                await stream.cancel()
        result = stream.result()
        await stream.cancel()
        assert result.stats.stop_reason == "userStopped" and result.content
        assert count == 2 and len(observed) > 8
        assert (threads, loops) == ({threading.current_thread()}, {asyncio.get_running_loop()})
        async with llm.complete_stream("1 2 3 4 5 6 7", config=ENDLESS) as left:
            async for _ in left:
                break
        with pytest.raises(lm.CancelledError):
            left.result()
        never = llm.complete_stream("1 2 3")
        await never.cancel()
        assert [fragment async for fragment in never] == []
        with pytest.raises(lm.CancelledError):
            never.result()
