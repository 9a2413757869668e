"""Engines that are killed during calls that are no predictions, embedded and served: the calls are repeated once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.errors import EngineDiedError
from studiolo.paths import Home
from tests.support.embedded_host import client_of
from tests.support.faults import MODEL, SMALL, pid_of, status_of
from tests.support.homes import new_home
from tests.support.running import serving, wait_until

pytestmark = [pytest.mark.timeout(170), pytest.mark.quick_model]

TEXTS = [f"{number} cats sleep for most of the day" for number in range(150)]
CHAT = lm.Chat("Be brief.")
CHAT.add_user_message("Is it so?")


@pytest.fixture(scope="module", params=["embedded", "served"])
def client(
    request: Any,
    quick_home: Home,
    embedding_model: Path,
    reranking_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[lm.Client]:
    folder = tmp_path_factory.mktemp("killed")
    home = new_home(folder, quick_home, embedding_model, reranking_model)
    if request.param == "embedded":
        with client_of(home) as client:
            yield client
    else:
        with serving(home, folder, "--no-load") as server, client_of(home, server.address) as client:
            yield client


class Outcomes:
    """The results of calls that run at once, each in a thread, or the errors that they raise."""

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self.found: list[Any] = [None] * len(calls)
        self._threads = [threading.Thread(target=self._run, args=each) for each in enumerate(calls)]
        for thread in self._threads:
            thread.start()

    def _run(self, index: int, call: Callable[[], Any]) -> None:
        try:
            self.found[index] = call()
        except BaseException as error:
            self.found[index] = error

    def all(self) -> list[Any]:
        for thread in self._threads:
            thread.join()
        return self.found


def stopped(client: lm.Client, identifier: str) -> int:
    """Stop the engine of an instance, so that no call can end there, and return its process."""
    pid = pid_of(client, identifier)
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_killed_while_it_embeds_many_texts(client: lm.Client) -> None:
    config = {"context_length": 128, "max_parallel_predictions": 4}
    model = client.embedding.load_new_instance("all-minilm-l6-v2", "embeds", config=config)
    expected = model.embed(TEXTS)
    pid = stopped(client, "embeds")
    outcomes = Outcomes(lambda: model.embed(TEXTS))
    wait_until(lambda: status_of(client, "embeds").running == 4, "the slots to be full")
    os.kill(pid, signal.SIGKILL)
    (found,) = outcomes.all()
    assert [vector == pytest.approx(right, abs=1e-3) for vector, right in zip(found, expected, strict=True)]
    assert pid_of(client, "embeds") != pid
    model.unload()


def test_killed_while_it_tokenizes_and_decides(client: lm.Client) -> None:
    llm = client.llm.load_new_instance(MODEL, "tokenizes", config={**SMALL, "max_parallel_predictions": 1})
    calls: list[Callable[[], Any]] = [
        lambda: llm.tokenize(TEXTS[:3]),
        lambda: llm.count_tokens(TEXTS[0]),
        lambda: llm.apply_prompt_template(CHAT),
        lambda: llm.decide(CHAT, ["Yes", "No"]).choice,
    ]
    pid = stopped(client, "tokenizes")
    outcomes = Outcomes(*calls)
    wait_until(lambda: status_of(client, "tokenizes").state == "busy", "the calls to begin")
    time.sleep(0.3)  # for the others
    os.kill(pid, signal.SIGKILL)
    found = outcomes.all()
    assert found == [call() for call in calls]
    assert pid_of(client, "tokenizes") != pid
    llm.unload()


def test_killed_twice_in_one_call(client: lm.Client) -> None:
    """The first engine is killed, and the next one at the same work: the error of its end, and the next call works."""
    model = client.embedding.load_new_instance("tiny-reranker", "reranks", config={"context_length": 256})
    many = [f"{text} " * 20 for text in TEXTS] * 20
    pid = stopped(client, "reranks")
    outcomes = Outcomes(lambda: model.rerank("Do cats sleep?", many))
    wait_until(lambda: status_of(client, "reranks").running, "the call to have its slot")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: status_of(client, "reranks").pid not in (pid, None), "the next engine")
    wait_until(lambda: status_of(client, "reranks").state == "busy", "it to be ready")
    second = pid_of(client, "reranks")
    os.kill(second, signal.SIGKILL)
    (error,) = outcomes.all()
    assert isinstance(error, EngineDiedError) and f"{second} ended unexpectedly" in str(error), error
    assert len(model.rerank("Do cats sleep?", TEXTS[:3])) == 3
    model.unload()
