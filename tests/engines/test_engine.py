"""The engine: a real worker process with a real model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from studiolo.domain.generation import Fragment
from studiolo.engines.base import Completed, Engine, PromptProgress
from studiolo.errors import EngineDiedError, EngineStartError, PromptTooLongError, UnsupportedError
from studiolo.paths import Home
from tests.support.engine_calls import request, run
from tests.support.engines import kind_in, spec_of
from tests.support.homes import ENDLESS
from tests.support.running import children, has_ended

pytestmark = pytest.mark.quick_model

CONTEXT = 512
END, B = 2, 82
"""Tokens: the end of a turn, and the letter b."""


@pytest.fixture
def model(home: Home) -> Path:
    return next(home.models.rglob("*.gguf"))


@pytest.fixture
async def engine(model: Path, tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await kind_in(tmp_path).start(spec_of(model))
    yield engine
    await engine.stop()


async def test_a_completion_is_progress_then_fragments_then_the_end(engine: Engine) -> None:
    events = await run(engine, "My name is", max_tokens=8)
    progress = [event for event in events if isinstance(event, PromptProgress)]
    fragments = [event for event in events if isinstance(event, Fragment)]
    assert progress[-1].processed == progress[-1].total == 3
    assert "".join(fragment.text for fragment in fragments)
    assert sum(fragment.tokens for fragment in fragments) <= 8
    end = events[-1]
    assert isinstance(end, Completed)
    assert (end.stop_reason, end.prompt_tokens, end.predicted_tokens) == ("max_tokens", 3, 8)


async def test_every_stop_reason_of_the_engine(engine: Engine) -> None:
    async def stop(prompt: str, **settings: object) -> Completed:
        end = (await run(engine, prompt, **settings))[-1]
        assert isinstance(end, Completed)
        return end

    assert (await stop("Once upon a time", max_tokens=3)).stop_reason == "max_tokens"
    stopped = await stop("Count: 1 2 3 4 5 6", stop_strings=["b"], logit_bias=[(B, 100)])
    assert (stopped.stop_reason, stopped.stop_string) == ("stop_string", "b")
    full = await stop("1 2 3 4 5 6 7 8 9 " * 24, logit_bias=[(B, 100)])
    assert full.stop_reason == "context_full"
    assert full.prompt_tokens + full.predicted_tokens >= CONTEXT - 1
    assert (await stop("Say hi.", logit_bias=[(END, 100)])).stop_reason == "end_of_text"


async def test_two_completions_run_at_once(engine: Engine) -> None:
    begun = [asyncio.Event(), asyncio.Event()]

    async def one(number: int) -> None:
        async with contextlib.aclosing(engine.complete(request("1 2 3 4 5 6 7", **ENDLESS))) as events:
            async for event in events:
                if isinstance(event, Fragment):
                    begun[number].set()
                    if begun[1 - number].is_set():
                        return

    async with asyncio.timeout(60):  # neither has an end: each is left once the other writes, too
        await asyncio.gather(one(0), one(1))


async def test_closing_the_iterator_frees_the_slot(engine: Engine) -> None:
    for _ in range(6):  # three times as many as there are slots, each of which would run for seconds
        async with contextlib.aclosing(engine.complete(request("1 2 3 4", **ENDLESS))) as events:
            async for event in events:
                if isinstance(event, Fragment):
                    break
    async with asyncio.timeout(30):
        await asyncio.gather(*(run(engine, "Hello", max_tokens=1) for _ in range(2)))


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(engine: Engine) -> None:
    with pytest.raises(PromptTooLongError, match=f"1001 tokens.*{CONTEXT}"):
        await run(engine, "the " * 1000)
    assert (await run(engine, "My name is", max_tokens=1))[-1]


async def test_tokens_are_the_models(engine: Engine) -> None:
    assert await engine.tokenize("My name is") == [5965, 1462, 314]


async def test_a_death_in_mid_stream_is_reported_within_a_second(engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    killed_at = 0.0
    with pytest.raises(EngineDiedError, match="SIGKILL") as caught:
        async for event in engine.complete(request("1 2 3 4", **ENDLESS)):
            if isinstance(event, Fragment) and not killed_at:
                os.kill(engine.process.pid, signal.SIGKILL)
                killed_at = loop.time()
    assert loop.time() - killed_at < 30
    assert "launch_slot" in str(caught.value), "the last lines of its log are not in the error"
    with pytest.raises(EngineDiedError):
        await run(engine, "again")
    with pytest.raises(EngineDiedError):
        await engine.tokenize("again")


async def test_a_file_that_is_no_model_is_refused_with_the_engines_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"nonsense" * 100)
    with pytest.raises(EngineStartError, match="invalid magic"):
        await kind_in(tmp_path).start(spec_of(bad))


async def test_cancelling_a_start_leaves_no_process(model: Path, tmp_path: Path) -> None:
    before = children()
    start = asyncio.create_task(kind_in(tmp_path).start(spec_of(model)))
    await asyncio.sleep(0.1)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert children() <= before


async def test_stopping_twice_is_fine_and_takes_the_socket_along(model: Path, tmp_path: Path) -> None:
    engine = await kind_in(tmp_path).start(spec_of(model))
    process = psutil.Process(engine.process.pid)
    await engine.stop()
    await engine.stop()
    assert has_ended(process)
    assert not list(tmp_path.glob("*.sock"))


async def test_a_worker_ends_with_its_parents_pipe_even_without_the_kernels_help(tmp_path: Path) -> None:
    spec = b'{"model": "none", "parent_pid": %d, "params": {}}\n' % os.getpid()
    worker = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            "import os, studiolo.engines.llama_cpp.worker as w; w._serve = lambda spec: {}; w.main()",
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(spec)
    assert b"ready" in await worker.stdout.readline()
    worker.stdin.close()
    async with asyncio.timeout(30):
        assert await worker.wait() == 1


def test_an_unknown_engine_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"llama\.cpp"):
        kind_in(tmp_path, "nonesuch")


async def test_a_text_of_over_a_mebibyte_is_sent_without_a_warning(engine: Engine) -> None:
    text = "word " * 220_000
    tokens = await engine.tokenize(text)
    assert len(tokens) > 200_000
    with pytest.raises(PromptTooLongError, match=f"{len(tokens)} tokens"):
        await run(engine, text, max_tokens=1)
