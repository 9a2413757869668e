"""A long prompt beside others: the engine takes it in small steps, and a cancelled one frees its slot after a step."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import studiolo as lm
from studiolo.config import DEFAULT_EVAL_BATCH, LoadConfig
from studiolo.engines.llama_cpp.params import worker_params

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

LONG = "word " * 1600
STEP = DEFAULT_EVAL_BATCH
CANCEL_LIMIT_SEC = 0.5


@pytest.fixture(scope="module")
def llm(place: tuple[str, int]) -> Iterator[lm.LLM]:
    load = {"context_length": 2048, "max_parallel_predictions": 2, "prompt_cache_mib": 0}
    with lm.Client(place[0]) as client:
        llm = client.llm.load_new_instance("smollm2-135m-instruct", "steps", config=load)
        yield llm
        llm.unload()


def test_a_stream_gets_tokens_while_a_long_prompt_is_read(llm: lm.LLM) -> None:
    """One token a step at least, however fast the machine is: nothing here depends on the clock."""
    tokens: list[int] = []
    reading = threading.Event()
    read = threading.Event()
    counts: list[int] = []

    def stream() -> None:
        with llm.complete_stream("1 2 3 4", config={"temperature": 0, "repeat_penalty": False}) as stream:
            for fragment in stream:
                tokens.append(fragment.tokens_count)
                if read.is_set():
                    break
                reading.set()

    thread = threading.Thread(target=stream)
    thread.start()
    reading.wait()

    def note(progress: float) -> None:
        counts.append(sum(tokens))

    result = llm.complete(LONG, config={"max_tokens": 1}, on_prompt_processing_progress=note)
    after = sum(tokens)
    read.set()
    thread.join()
    steps = (result.stats.prompt_tokens_count or 0) // STEP
    assert steps >= 3 and len(counts) > steps
    assert after - counts[0] >= steps - 1, "the stream waited for more than one step"


@pytest.mark.parametrize("after_sec", [0.05, 0.2])
def test_a_cancelled_prompt_returns_at_once_and_the_next_request_waits_for_no_more_than_steps(
    llm: lm.LLM, after_sec: float
) -> None:
    began = time.monotonic()
    llm.complete(f"{after_sec} apples. " + "word " * (STEP - 8), config={"max_tokens": 1})
    step_sec = time.monotonic() - began
    stream = llm.complete_stream(f"{after_sec} pears. {LONG}", config={"max_tokens": 5})
    ended: list[float] = []

    def read() -> None:
        for _ in stream:
            pass
        ended.append(time.monotonic())

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(after_sec)
    cancelled = time.monotonic()
    stream.cancel()
    thread.join()
    assert ended[0] - cancelled < CANCEL_LIMIT_SEC
    assert stream.result().stats.stop_reason == "userStopped"
    llm.complete("Hi", config={"max_tokens": 1})
    assert time.monotonic() - cancelled < 3 * step_sec + 2


def test_a_larger_physical_batch_enlarges_the_step() -> None:
    config = LoadConfig(context_length=4096, max_parallel_predictions=1)
    assert (worker_params(config, "llm")["n_batch"], worker_params(config, "llm")["n_ubatch"]) == (512, 512)
    config = LoadConfig(context_length=4096, max_parallel_predictions=1, physical_batch_size=1024)
    assert (worker_params(config, "llm")["n_batch"], worker_params(config, "llm")["n_ubatch"]) == (1024, 1024)
