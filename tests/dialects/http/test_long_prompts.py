"""Streams whose prompt a real engine reads for many seconds: the client knows that they are alive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import studiolo as lm
from studiolo.dialects.http.answers import KEEP_ALIVE_SEC
from tests.support.http_server import LLM
from tests.support.running import Server

TEXT_OF_AN_ANSWER = {"/v1/chat/completions": '"content":"', "/v1/messages": "text_delta"}


@pytest.fixture
def slow(http_server: Server) -> Iterator[str]:
    """The identifier of a model that reads its prompts in very small steps."""
    load = {"context_length": 8192, "eval_batch_size": 8, "max_parallel_predictions": 2, "prompt_cache_mib": 0}
    with lm.Client(http_server.address) as client:
        llm = client.llm.load_new_instance(LLM, "slow-reader", config=load)
        yield llm.identifier
        llm.unload()


def test_signs_of_life_come_while_a_real_engine_reads_a_long_prompt(base_url: str, slow: str) -> None:
    def read(path: str) -> tuple[float, int]:
        """Return how long the first text took, and the signs of life before it."""
        words = f"{path} {'word ' * 7000}"
        chat = [{"role": "user", "content": words}]
        body = {"model": slow, "messages": chat, "stream": True, "max_tokens": 2}
        began, signs = time.monotonic(), 0
        with httpx.stream("POST", f"{base_url}{path}", json=body, timeout=120) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                signs += line.startswith((": keep-alive", "event: ping"))
                if TEXT_OF_AN_ANSWER[path] in line:
                    return time.monotonic() - began, signs
        raise AssertionError(f"{path} has no text")

    with ThreadPoolExecutor(len(TEXT_OF_AN_ANSWER)) as threads:
        # Fewer only where an engine reads so fast that there is nothing to wait for.
        for took, signs in threads.map(read, TEXT_OF_AN_ANSWER):
            assert signs >= int(took / (KEEP_ALIVE_SEC + 1)), (took, signs)
