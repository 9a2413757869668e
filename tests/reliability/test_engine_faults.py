"""Engines that die or fall silent: what callers see, what the next request sees, what others notice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import studiolo as lm
from studiolo.errors import EngineDiedError, EngineStartError, QuarantinedError
from tests.support.faults import (
    COUNT,
    MODEL,
    SMALL,
    WORDS,
    answer,
    circle,
    kill_engine,
    nothing_left,
    pid_of,
    status_of,
    undisturbed,
)
from tests.support.homes import ENDLESS
from tests.support.running import Server, wait_until

LONG = 1190
"""The tokens of an answer that is rarely there before this process has seen its first."""

pytestmark = [pytest.mark.timeout(170), pytest.mark.quick_model]


def load(client: lm.Client, name: str, **config: int) -> lm.LLM:
    return client.llm.load_new_instance(MODEL, name, config={**SMALL, **config})


def last_crash(client: lm.Client) -> Any:
    about = client.system.info().studiolo
    assert about is not None
    return about.crashes[-1]


def test_killed_while_idle(server: Server, client: lm.Client) -> None:
    with nothing_left(server.pid), undisturbed(server.address):
        llm = load(client, "idle")
        before = answer(llm)
        pid = pid_of(client, "idle")
        kill_engine(client, "idle")
        wait_until(lambda: getattr(status_of(client, "idle"), "state", "") == "crashed", "the crash to be noticed")
        crash = last_crash(client)
        assert (crash.identifier, crash.model_key, crash.pid, crash.running) == ("idle", MODEL, pid, [])
        assert "SIGKILL" in crash.reason
        assert answer(llm) == before
        assert pid_of(client, "idle") != pid
        llm.unload()


def test_killed_while_loading(server: Server, client: lm.Client) -> None:
    with nothing_left(server.pid), undisturbed(server.address):
        faults: list[BaseException] = []

        def attempt() -> None:
            try:
                load(client, "loading")
            except BaseException as error:
                faults.append(error)

        for _ in range(10):
            known = {worker.pid for worker in server.workers()}
            thread = threading.Thread(target=attempt)
            thread.start()
            fresh: set[int] = set()
            while not fresh:
                fresh = {worker.pid for worker in server.workers()} - known
            os.kill(fresh.pop(), signal.SIGKILL)
            thread.join()
            if faults:
                break
            client.llm.unload("loading")  # it was loaded by then: this test was late
        assert isinstance(faults[0], EngineStartError)
        assert "SIGKILL" in str(faults[0])
        assert status_of(client, "loading") is None
        llm = load(client, "loading")
        assert answer(llm)
        llm.unload()


def test_killed_while_it_processes_a_prompt(server: Server, client: lm.Client) -> None:
    with nothing_left(server.pid), undisturbed(server.address):
        llm = load(client, "prompt", context_length=1024, max_parallel_predictions=1)
        expected = answer(llm)
        fragments: list[lm.LlmPredictionFragment] = []

        def predict(**config: Any) -> lm.PredictionResult:
            config = {"temperature": 0, "max_tokens": 2, **config}
            return llm.complete("word " * 800, config=config, on_prediction_fragment=fragments.append)

        with killed_at_its_prompt(client, "prompt"):
            result = predict()
        assert (result.engine_restarts, result.stats.predicted_tokens_count) == (1, 2)
        fragments.clear()
        with killed_at_its_prompt(client, "prompt"), pytest.raises(EngineDiedError, match="SIGKILL"):
            predict(on_engine_failure="error")
        assert fragments == []
        assert len(last_crash(client).running) == 1
        assert "0 tokens out" in last_crash(client).running[0]
        assert answer(llm) == expected
        llm.unload()


@contextlib.contextmanager
def killed_at_its_prompt(client: lm.Client, name: str) -> Iterator[None]:
    """Kill the engine when it has the prompt of the block, and before it can read it."""

    def kill() -> None:
        wait_until(lambda: status_of(client, name).running == 1, "the prompt to be sent")
        os.kill(pid, signal.SIGKILL)

    pid = pid_of(client, name)
    os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_killed_while_it_streams(server: Server, client: lm.Client) -> None:
    """The answer is continued on the next engine; with ``on_engine_failure="error"`` it is an error."""
    with nothing_left(server.pid), undisturbed(server.address):
        llm = load(client, "stream", context_length=2048)
        limited = circle(llm) | {"max_tokens": LONG, "log_probs": 0}
        expected = llm.complete(COUNT, config=limited)
        assert expected.content == "".join(reversed(WORDS)) * (LONG // len(WORDS))
        for _ in range(10):
            pid = pid_of(client, "stream")
            stream = llm.complete_stream(COUNT, config=limited)
            for count, _ in enumerate(stream):
                if count == 0:
                    os.kill(pid, signal.SIGSTOP)
                    is_running = getattr(status_of(client, "stream"), "running", 0)
                    os.kill(pid, signal.SIGKILL if is_running else signal.SIGCONT)  # else this test was late
            result = stream.result()
            if result.engine_restarts:
                break
        assert result.content == expected.content
        assert result.engine_restarts == 1 and expected.engine_restarts == 0
        counts = [(each.stats.prompt_tokens_count, each.stats.predicted_tokens_count) for each in (result, expected)]
        assert counts[0] == counts[1] == (counts[0][0], LONG)
        assert result.stats.stop_reason == "maxPredictedTokensReached"
        assert "".join(entry[0].text for entry in result.logprobs or ()) == result.content

        stream = llm.complete_stream(COUNT, config={**ENDLESS, "on_engine_failure": "error"})
        with pytest.raises(EngineDiedError, match="SIGKILL"):
            for count, _ in enumerate(stream):
                if count == 2:
                    kill_engine(client, "stream")
        assert llm.complete(COUNT, config=limited).content == expected.content
        llm.unload()


def test_killed_with_eight_clients_at_once(server: Server, client: lm.Client) -> None:
    """Running predictions fail where they ask for it; those that wait get their answer from the next engine."""
    with nothing_left(server.pid), undisturbed(server.address):
        llm = load(client, "eight", max_parallel_predictions=4)
        outcomes: list[object] = []
        begun = [threading.Event() for _ in range(8)]
        running = {**ENDLESS, "on_engine_failure": "error"}
        waiting = {**ENDLESS, "max_tokens": 20}

        def predict(index: int) -> None:
            try:
                with lm.Client(server.address) as own:
                    stream = own.llm.model("eight").complete_stream(COUNT, config=running if index < 4 else waiting)
                    for _ in stream:
                        begun[index].set()
                    outcomes.append(stream.result())
            except BaseException as error:
                outcomes.append(error)

        def standing() -> tuple[int, int]:
            status: Any = status_of(client, "eight")
            return status.running, len(status.queue)

        threads = [threading.Thread(target=predict, args=(index,)) for index in range(8)]
        for thread in threads[:4]:
            thread.start()
        wait_until(lambda: all(event.is_set() for event in begun[:4]), "four to run")
        for thread in threads[4:]:
            thread.start()
        wait_until(lambda: standing() == (4, 4), "four to wait")
        kill_engine(client, "eight")
        for thread in threads:
            thread.join()
        assert sum(isinstance(outcome, EngineDiedError) for outcome in outcomes) == 4, outcomes
        results = [outcome for outcome in outcomes if isinstance(outcome, lm.PredictionResult)]
        assert len(results) == 4
        assert all(result.stats.stop_reason == "maxPredictedTokensReached" for result in results)
        assert len(last_crash(client).running) == 4
        llm.unload()


def test_stopped_in_mid_stream(server: Server, client: lm.Client) -> None:
    """An engine that hangs is found by its health check, ended, and reported."""
    with nothing_left(server.pid), undisturbed(server.address):
        llm = load(client, "hangs", context_length=2048)
        expected = answer(llm)
        stream = llm.complete_stream(COUNT, config={**ENDLESS, "on_engine_failure": "error"})
        with pytest.raises(EngineDiedError, match="did not answer a health check within 12 s"):
            for count, _ in enumerate(stream):
                if count == 2:
                    kill_engine(client, "hangs", signal.SIGSTOP)
        assert answer(llm) == expected
        llm.unload()


def test_an_engine_that_keeps_crashing_is_quarantined(server: Server, client: lm.Client) -> None:
    llm = load(client, "unlucky")
    pids: set[int] = set()
    with pytest.raises(QuarantinedError, match=r"is in quarantine for \d+ s.*SIGKILL"):
        for _ in range(5):
            answer(llm, 1)
            pid = pid_of(client, "unlucky")
            assert pid not in pids
            pids.add(pid)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: getattr(status_of(client, "unlucky"), "pid", None) is None, "the crash to be noticed")
    assert len(pids) == 4
    assert getattr(status_of(client, "unlucky"), "state", "") == "quarantined"
    llm.unload()
    llm = load(client, "unlucky")  # to load it is a decision: it is tried at once
    assert answer(llm)
    llm.unload()


STREAMING = f"""
import sys
import studiolo as lm

with lm.Client(sys.argv[1]) as client:
    for _ in client.llm.model(sys.argv[2]).complete_stream({COUNT!r}, config={ENDLESS!r}):
        print("begun", flush=True)
"""


def test_a_client_that_vanishes_frees_its_slot(server: Server, client: lm.Client) -> None:
    with nothing_left(server.pid):
        llm = load(client, "vanished", max_parallel_predictions=1, context_length=4096)
        program = [sys.executable, "-c", STREAMING, server.address, "vanished"]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as vanishing:
            assert vanishing.stdout is not None
            assert vanishing.stdout.readline() == "begun\n"
            busy: Any = status_of(client, "vanished")
            assert busy.running == 1
            worker = psutil.Process(busy.pid)
            vanishing.kill()
        wait_until(lambda: getattr(status_of(client, "vanished"), "running", None) == 0, "the slot to be free")
        spent = sum(worker.cpu_times()[:2])
        time.sleep(0.5)
        assert sum(worker.cpu_times()[:2]) - spent < 0.4  # the engine rests, too
        llm.unload()
