"""The queue between a producer on an event loop and its consumer."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studiolo.merging_queue import SLACK, MergingQueue
from studiolo.protocol.llm import Fragment, merge_fragments


def fragments() -> MergingQueue[Fragment]:
    return MergingQueue(merge_fragments)


async def test_what_comes_is_delivered_in_order_and_then_the_end() -> None:
    queue = fragments()
    for text in "abc":
        queue.put(Fragment(content=text))
    assert [str(fragment) for fragment in await queue.get_all()] == ["a", "b", "c"]
    queue.put(Fragment(content="d"))
    queue.close()
    queue.put(Fragment(content="too late"))
    assert [str(fragment) for fragment in await queue.get_all()] == ["d"]
    assert await queue.get_all() == []
    assert await queue.get_all() == []


async def test_an_error_comes_after_what_was_there_before_it() -> None:
    queue = fragments()
    queue.put(Fragment(content="a"))
    queue.close(ValueError("gone"))
    queue.close(ValueError("again"))
    assert [str(fragment) for fragment in await queue.get_all()] == ["a"]
    with pytest.raises(ValueError, match="gone"):
        await queue.get_all()


@pytest.mark.slow
@given(st.lists(st.tuples(st.text(), st.sampled_from(["none", "reasoning"])), max_size=4 * SLACK))
async def test_a_lagging_consumer_gets_all_text_in_few_fragments(pieces: list[tuple[str, str]]) -> None:
    queue = fragments()
    for text, kind in pieces:
        queue.put(Fragment(content=text, reasoning_type=kind))  # type: ignore[arg-type]
    queue.close()
    got = await queue.get_all()
    for kind in ("none", "reasoning"):
        sent = "".join(text for text, its in pieces if its == kind)
        assert "".join(fragment.content for fragment in got if fragment.reasoning_type == kind) == sent
    assert sum(fragment.tokens_count for fragment in got) == len(pieces)
    changes = sum(1 for before, after in itertools.pairwise(pieces) if before[1] != after[1])
    assert len(got) <= max(SLACK, 2 * (changes + 1))


async def test_a_thread_gets_the_same_without_the_loop() -> None:
    queue = fragments()
    got: list[str] = []

    def read() -> None:
        while batch := queue.get_all_blocking(10):
            got.extend(str(fragment) for fragment in batch)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(2000):
        queue.put(Fragment(content=f"{number} "))
        if number % 7 == 0:
            await asyncio.sleep(0)
    queue.close()
    await asyncio.to_thread(thread.join)
    assert "".join(got) == "".join(f"{number} " for number in range(2000))


async def test_a_thread_that_waits_in_vain_gets_an_error_and_so_does_one_that_waits_for_an_error() -> None:
    queue = fragments()
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(queue.get_all_blocking, 0.05)
    queue.close(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        await asyncio.to_thread(queue.get_all_blocking, 10)
