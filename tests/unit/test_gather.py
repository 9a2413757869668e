"""Many texts at once, on scripted calls: one piece of work, and the position of a text that fails."""

from __future__ import annotations

import asyncio

import pytest

from studiolo.errors import ConnectionFailedError, PredictionError, PromptTooLongError, RequestTimeoutError
from studiolo.sdk.gather import MAX_CONCURRENT_CALLS, gather


async def test_results_are_in_the_order_of_the_texts_and_few_calls_run_at_once() -> None:
    running = most = 0

    async def call(text: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return text.upper()

    texts = [f"t{number}" for number in range(100)]
    assert await gather(call, iter(texts)) == [text.upper() for text in texts]
    assert most == MAX_CONCURRENT_CALLS
    assert await gather(call, []) == []


async def test_a_call_that_times_out_while_others_are_answered_is_repeated() -> None:
    """The host was busy with the others: nothing has timed out as long as answers come."""
    attempts = 0
    fast_is_answered = asyncio.Event()

    async def call(text: str) -> str:
        nonlocal attempts
        if text == "slow":
            attempts += 1
            if attempts == 1:
                await fast_is_answered.wait()
                raise RequestTimeoutError("The host sent nothing for 5 s")
        else:
            asyncio.get_running_loop().call_soon(fast_is_answered.set)
        return text

    assert await gather(call, ["slow", "fast"]) == ["slow", "fast"]
    assert attempts == 2


async def test_a_host_that_answers_nothing_times_out() -> None:
    attempts = 0

    async def call(text: str) -> str:
        nonlocal attempts
        attempts += 1
        raise RequestTimeoutError("The host sent nothing for 5 s")

    with pytest.raises(RequestTimeoutError):
        await gather(call, ["a", "b", "c"])
    assert attempts <= 3


@pytest.mark.parametrize("kind", [PredictionError, PromptTooLongError])
async def test_a_text_that_fails_is_named_by_its_position(kind: type[PredictionError]) -> None:
    async def call(text: str) -> str:
        if text == "bad":
            raise kind("The prompt has 5002 tokens", cause="too many", data={"promptTokensCount": 5002})
        return text

    with pytest.raises(kind) as caught:
        await gather(call, ["a", "bad", "b"])
    assert type(caught.value) is kind
    assert caught.value.title == "Text 2 of 3: The prompt has 5002 tokens" and caught.value.cause == "too many"
    assert caught.value.data == {"promptTokensCount": 5002, "index": 1}


async def test_an_error_that_is_not_of_a_text_stays_as_it_is() -> None:
    async def call(text: str) -> str:
        raise ConnectionFailedError("The connection broke")

    with pytest.raises(ConnectionFailedError, match=r"^The connection broke"):
        await gather(call, ["a", "b"])
