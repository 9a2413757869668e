"""Streams whose prompt a real engine reads for many seconds: the client knows that they are alive."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import studiolo as lm
from tests.support.faults import pid_of
from tests.support.http_server import LLM
from tests.support.running import Server, wait_until

TEXT_OF_AN_ANSWER = {"/v1/chat/completions": '"content":"', "/v1/messages": "text_delta"}


@pytest.fixture
def client(http_server: Server) -> Iterator[lm.Client]:
    with lm.Client(http_server.address) as client:
        yield client


@pytest.fixture
def slow(client: lm.Client) -> Iterator[str]:
    """The identifier of a model that reads its prompts in very small steps."""
    load = {"context_length": 8192, "eval_batch_size": 2, "max_parallel_predictions": 2, "prompt_cache_mib": 0}
    llm = client.llm.load_new_instance(LLM, "slow-reader", config=load)
    yield llm.identifier
    llm.unload()


def test_signs_of_life_come_while_an_engine_that_is_stopped_reads_a_prompt(
    base_url: str, slow: str, client: lm.Client
) -> None:
    """It is stopped when both streams have begun, and continued when there have been two signs since then."""
    signs: Counter[str] = Counter()
    enough = threading.Event()

    def read(path: str) -> None:
        """Count the signs of life, and leave when there are enough."""
        chat = [{"role": "user", "content": f"{path} {'word ' * 7000}"}]
        body = {"model": slow, "messages": chat, "stream": True, "max_tokens": 2}
        with httpx.stream("POST", f"{base_url}{path}", json=body, timeout=120) as answer:
            assert answer.status_code == 200
            signs[path] = 0
            for line in answer.iter_lines():
                signs[path] += line.startswith((": keep-alive", "event: ping"))
                assert TEXT_OF_AN_ANSWER[path] not in line, "the prompt was read before the engine was stopped"
                if enough.is_set():
                    return
        raise AssertionError(f"{path} has ended")

    pid = pid_of(client, slow)
    with ThreadPoolExecutor(len(TEXT_OF_AN_ANSWER)) as threads:
        found = [threads.submit(read, path) for path in TEXT_OF_AN_ANSWER]
        wait_until(lambda: len(signs) == len(found), "both streams to begin")
        os.kill(pid, signal.SIGSTOP)
        before = signs.copy()
        try:
            wait_until(lambda: all(signs[path] >= before[path] + 2 for path in signs), "signs of life")
        finally:
            enough.set()
            for each in found:
                each.exception()  # it has left: the engine need not read on
            os.kill(pid, signal.SIGCONT)
        for each in found:
            each.result()
