"""The SDK's behaviour: the same tests over an embedded host and over a served one."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.homes import ENDLESS
from tests.support.running import PATIENCE_SEC, wait_until, workers_of

pytestmark = pytest.mark.quick_model

FULL = ENDLESS | {"context_overflow_policy": "stopAtLimit"}
"""With these the model continues until its context is full."""
COUNT = "1 2 3 4 5 6 7"


def test_without_a_name_the_default_model_is_loaded_and_found_again(client: lm.Client) -> None:
    llm = client.llm.model()
    assert llm.identifier == "smollm2-135m-instruct"
    assert client.llm.model() == llm == client.llm.model("smollm2-135m-instruct")
    assert client.llm.list_loaded() == [llm] == client.list_loaded_models() == client.list_loaded_models("llm")
    assert client.list_loaded_models("embedding") == []


def test_a_stream_prints_as_its_text_and_ends_in_a_result(llm: lm.LLM) -> None:
    stream = llm.complete_stream("My name is", config={"max_tokens": 8, "temperature": 0})
    fragments = list(stream)
    result = stream.result()
    assert "".join(str(fragment) for fragment in fragments) == str(result) == result.content != ""
    assert [type(fragment) for fragment in fragments] == [lm.Fragment] * len(fragments)
    first = fragments[0]
    assert (first.content, first.tokens_count, first.contains_drafted, first.reasoning_type) == (
        str(first),
        1,
        False,
        "none",
    )
    assert stream.stats == result.stats
    assert stream.model_info == result.model_info


def test_a_result_has_statistics_and_settings(llm: lm.LLM) -> None:
    result = llm.complete("My name is", config={"max_tokens": 5, "top_k": 7, "seed": 1})
    stats = result.stats
    assert stats.stop_reason == "maxPredictedTokensReached"
    assert (stats.prompt_tokens_count, stats.predicted_tokens_count, stats.total_tokens_count) == (3, 5, 8)
    assert stats.num_gpu_layers == 0
    assert stats.tokens_per_second is not None and stats.tokens_per_second > 0
    assert stats.time_to_first_token_sec is not None and stats.total_time_sec is not None
    assert 0 < stats.time_to_first_token_sec < stats.total_time_sec
    assert result.model_info.model_key == "smollm2-135m-instruct"
    assert result.model_info.architecture == "llama"
    assert result.load_config.context_length == 8192
    assert result.prediction_config.top_k == 7
    assert result.prediction_config.temperature == 0.8
    assert result.prediction_config.max_tokens == 5


@pytest.mark.parametrize(
    ("prompt", "config", "reason"),
    [
        ("Once upon a time", {"maxTokens": 3}, "maxPredictedTokensReached"),
        ("Count: 1 2 3 4 5 6", {"stopStrings": ["9"], "logitBias": [[41, 100]]}, "stopStringFound"),
        ("Say hi.", {"logitBias": [[2, 100]]}, "eosFound"),
    ],
)
def test_stop_reasons(llm: lm.LLM, prompt: str, config: dict[str, Any], reason: str) -> None:
    result = llm.complete(prompt, config={"temperature": 0, **config})
    assert result.stats.stop_reason == reason
    assert result.stats.stop_string == ("9" if reason == "stopStringFound" else None)
    assert "9" not in result.content or reason != "stopStringFound"


def test_a_full_context_stops_and_says_so(client: lm.Client) -> None:
    small = client.llm.load_new_instance("smollm2-135m-instruct", "small", config={"context_length": 256})
    try:
        result = small.complete("1 2 3 4 5 6 7 8 9 " * 13, config=FULL)
        assert result.stats.stop_reason == "contextLengthReached"
        assert result.load_config.context_length == small.get_context_length() == 256
        assert small.get_load_config().context_length == 256
        with pytest.raises(lm.PromptTooLongError, match=r"601 tokens.*256"):
            small.complete("the " * 600)
    finally:
        small.unload()


def test_settings_have_their_effect(llm: lm.LLM) -> None:
    def text(**config: Any) -> str:
        return llm.complete("The best thing about", config={"max_tokens": 12, **config}).content

    assert text(temperature=0) == text(temperature=0)
    assert text(seed=5) == text(seed=5)
    assert len({text(seed=seed, temperature=2) for seed in range(4)}) > 1
    assert text(top_k=1, temperature=2) == text(temperature=0)
    assert text(top_p=0.0001, temperature=2) == text(temperature=0)
    assert text(min_p=1.0, temperature=2) == text(temperature=0)
    repeated = llm.complete("la la la la la la", config={**ENDLESS, "max_tokens": 12}).content
    penalised = llm.complete("la la la la la la", config={"temperature": 0, "repeat_penalty": 2.0, "max_tokens": 12})
    assert repeated != penalised.content
    typed = llm.complete("The best thing about", config=lm.PredictionConfig(max_tokens=12, temperature=0))
    assert typed.content == text(temperature=0)


def test_callbacks_come_in_order_and_in_the_callers_thread(llm: lm.LLM) -> None:
    calls: list[tuple[str, Any]] = []
    threads: set[threading.Thread] = set()

    def note(kind: str, value: Any = None) -> None:
        calls.append((kind, value))
        threads.add(threading.current_thread())

    prompt = "word " * 600  # more than one batch, so that there is progress to report
    result = llm.complete(
        prompt,
        config={"max_tokens": 4, "temperature": 0},
        on_first_token=lambda: note("first"),
        on_prediction_fragment=lambda fragment: note("fragment", fragment),
        on_prompt_processing_progress=lambda progress: note("progress", progress),
    )
    kinds = [kind for kind, _ in calls]
    progress = [value for kind, value in calls if kind == "progress"]
    assert progress[0] == 0.0 and progress[-1] == 1.0 and progress == sorted(set(progress))
    assert kinds == ["progress"] * len(progress) + ["first"] + ["fragment"] * kinds.count("fragment")
    assert "".join(str(value) for kind, value in calls if kind == "fragment") == result.content
    assert threads == {threading.current_thread()}


def test_a_failing_callback_ends_nothing(llm: lm.LLM, caplog: pytest.LogCaptureFixture) -> None:
    result = llm.complete("My name is", config={"max_tokens": 3, "temperature": 0}, on_first_token=lambda: 1 / 0)
    assert result.stats.predicted_tokens_count == 3
    assert "ZeroDivisionError" in caplog.text


def test_cancel_gives_the_result_of_what_was_generated(llm: lm.LLM) -> None:
    stream = llm.complete_stream(COUNT, config=ENDLESS)
    seen: list[str] = []
    for fragment in stream:
        seen.append(fragment.content)
        if len(seen) == 5:
            stream.cancel()
    result = stream.result()
    assert result.stats.stop_reason == "userStopped"
    assert result.content == "".join(seen)
    assert result.stats.prompt_tokens_count and result.stats.tokens_per_second
    assert len(seen) == 5


def test_cancel_from_another_thread_and_before_the_start(llm: lm.LLM) -> None:
    begun = threading.Event()
    stream = llm.complete_stream(COUNT, config=ENDLESS, on_first_token=begun.set)
    threading.Thread(target=lambda: begun.wait(PATIENCE_SEC) and stream.cancel()).start()
    assert stream.wait_for_result().stats.stop_reason == "userStopped"
    never = llm.complete_stream(COUNT)
    never.cancel()
    assert list(never) == []
    with pytest.raises(lm.CancelledError):
        never.result()


def test_leaving_the_loop_stops_the_engines_work(llm: lm.LLM, client: lm.Client) -> None:
    for _ in range(6):  # more than there are slots
        stream = llm.complete_stream(COUNT, config=ENDLESS)
        for _fragment in stream:
            break
        with pytest.raises(lm.CancelledError):
            stream.result()
    with llm.complete_stream(COUNT, config=ENDLESS):
        pass
    wait_until(lambda: _running(client) == 0, "the engine to be idle")


def _running(client: lm.Client) -> int:
    about = client.system.info().studiolo
    assert about is not None
    return sum(instance.running for instance in about.instances)


def test_a_stream_is_read_once_and_asked_for_its_result_afterwards(llm: lm.LLM) -> None:
    stream = llm.complete_stream("My name is", config={"max_tokens": 2})
    with pytest.raises(lm.UsageError, match="not been started"):
        stream.result()
    assert stream.stats is None
    result = stream.wait_for_result()
    assert stream.result() is result
    with pytest.raises(lm.UsageError, match="already"):
        stream.start()


def test_two_completions_run_at_once(llm: lm.LLM) -> None:
    together = threading.Barrier(2, timeout=20)
    failures: list[BaseException] = []

    def one() -> None:
        try:
            stream = llm.complete_stream(COUNT, config={**ENDLESS, "max_tokens": 1000})
            iterator = iter(stream)
            next(iterator)
            together.wait()  # both have a fragment, and neither has ended
            assert sum(fragment.tokens_count for fragment in iterator) > 40
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_wrong_settings_are_refused_before_anything_runs(llm: lm.LLM, client: lm.Client) -> None:
    with pytest.raises(lm.ConfigError, match="temperature"):
        llm.complete("x", config={"temperature": "hot"})
    with pytest.raises(ValueError, match="prompt"):
        llm.complete(3)  # type: ignore[arg-type]
    with pytest.raises(lm.ConfigError, match="9999999"):
        client.llm.load_new_instance("smollm2-135m-instruct", config={"context_length": 9999999})
    with pytest.raises(lm.ConfigError, match="ttl"):
        client.llm.model("smollm2-135m-instruct", ttl=0)
    with pytest.raises(lm.ConfigError, match="'namespace' is 'audio'"):
        client.list_loaded_models("audio")


def test_an_unknown_model_is_named_with_its_near_matches(client: lm.Client) -> None:
    with pytest.raises(lm.ModelNotFoundError) as caught:
        client.llm.model("smollm2-135m-instrukt")
    assert "smollm2-135m-instruct" in str(caught.value)
    with pytest.raises(lm.ModelNotFoundError, match="studiolo get gemma-3-270m"):
        client.llm.model("gemma-3-270m")
    with pytest.raises(lm.LMStudioModelNotFoundError):
        client.llm.unload("nobody")


def test_instances_have_identifiers_and_are_unloaded(client: lm.Client, llm: lm.LLM) -> None:
    progress: list[float] = []
    second = client.llm.load_new_instance("smollm2-135m-instruct", on_load_progress=progress.append)
    named = client.llm.load_new_instance("smollm2-135m-instruct", "mine", config={"context_length": 128})
    assert (second.identifier, named.identifier) == ("smollm2-135m-instruct:2", "mine")
    assert progress[-1] == 1.0
    assert named.get_info().context_length == 128
    with pytest.raises(lm.LMStudioServerError, match="'mine' already exists"):
        client.llm.load_new_instance("smollm2-135m-instruct", "mine")
    second.unload()
    named.unload()
    assert client.llm.list_loaded() == [llm]
    with pytest.raises(lm.ModelNotFoundError, match="mine"):
        named.get_info()


def test_unloading_ends_what_runs(client: lm.Client) -> None:
    doomed = client.llm.load_new_instance("smollm2-135m-instruct", "doomed")
    stream = doomed.complete_stream(COUNT, config=ENDLESS)
    for number, _fragment in enumerate(stream):
        if number == 3:
            doomed.unload()
    assert stream.result().stats.stop_reason == "modelUnloaded"


def test_an_idle_instance_is_unloaded_after_its_ttl(client: lm.Client) -> None:
    brief = client.llm.load_new_instance("smollm2-135m-instruct", "brief", ttl=6)
    with brief.complete_stream(COUNT, config=ENDLESS) as stream:
        next(iter(stream))
        assert brief in client.llm.list_loaded(), "it is not idle"
    wait_until(lambda: brief not in client.llm.list_loaded(), "the instance to be unloaded")


def test_a_handle_of_an_unloaded_model_loads_it_again(client: lm.Client) -> None:
    llm = client.llm.model()
    llm.unload()
    assert client.llm.list_loaded() == []
    assert llm.complete("My name is", config={"max_tokens": 1, "temperature": 0}).content


def test_killing_the_engine_in_mid_stream_is_reported_and_the_next_call_works(
    llm: lm.LLM, place: tuple[str, int]
) -> None:
    workers: list[psutil.Process] = []
    with pytest.raises(lm.EngineDiedError, match="SIGKILL") as caught:
        for _fragment in llm.complete_stream(COUNT, config={**ENDLESS, "on_engine_failure": "error"}):
            if not workers:
                workers = workers_of(place[1])
                workers[0].send_signal(signal.SIGKILL)
    assert "last words" in str(caught.value) and ".log" in str(caught.value)
    assert llm.complete("My name is", config={"max_tokens": 2, "temperature": 0}).stats.predicted_tokens_count == 2


def test_tokens(llm: lm.LLM) -> None:
    assert llm.tokenize("My name is") == [5965, 1462, 314]
    assert llm.tokenize(["My", "name"]) == [llm.tokenize("My"), llm.tokenize("name")]
    assert llm.count_tokens("My name is") == 3


def test_what_is_on_disk(client: lm.Client, model_home: Home) -> None:
    (size,) = (path.stat().st_size for path in model_home.models.rglob("*.gguf"))
    (downloaded,) = client.list_downloaded_models()
    assert isinstance(downloaded, lm.DownloadedLlm)
    model = downloaded.info
    assert isinstance(model, lm.LlmInfo)
    assert (downloaded.model_key, downloaded.path, downloaded.type) == (model.model_key, model.path, "llm")
    assert model.model_key == "smollm2-135m-instruct"
    assert model.path == "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert (model.size_bytes, model.max_context_length) == (size, 8192)
    assert client.list_downloaded_models("embedding") == []


def test_a_file_that_is_no_model_is_refused_wherever_it_lies(client: lm.Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"nonsense" * 100)
    with pytest.raises(lm.ModelFileError, match=r"GGUF"):
        client.llm.model(str(bad))


async def test_the_async_client_does_the_same(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        assert client.api_host == place[0]
        llm = await client.llm.model()
        stream = llm.complete_stream("My name is", config={"max_tokens": 6, "temperature": 0})
        text = "".join([fragment.content async for fragment in stream])
        assert (
            text
            == stream.result().content
            == (await llm.complete("My name is", config={"max_tokens": 6, "temperature": 0})).content
        )
        cancelled = await llm.complete_stream(COUNT, config=ENDLESS)  # to await it is the official client's way
        async for _fragment in cancelled:
            await cancelled.cancel()
        assert cancelled.result().stats.stop_reason == "userStopped"
        for _ in range(6):  # more than there are slots
            async for _fragment in llm.complete_stream(COUNT, config=ENDLESS):
                break
        results = await asyncio.gather(
            *(llm.complete("My name is", config={"max_tokens": 3, "temperature": 0}) for _ in range(6))
        )
        assert [result.stats.predicted_tokens_count for result in results] == [3] * 6
        assert await llm.count_tokens("My name is") == 3


async def test_a_cancelled_task_frees_the_slot(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        for _ in range(6):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await llm.complete(COUNT, config=ENDLESS)
        async with asyncio.timeout(PATIENCE_SEC):
            await llm.complete("x", config={"max_tokens": 1})


def test_an_event_loop_that_ends_in_mid_stream_stops_the_engines_work(
    client: lm.Client, place: tuple[str, int]
) -> None:
    async def leave() -> None:
        other = lm.AsyncClient(place[0])
        stream = (await other.llm.model()).complete_stream(COUNT, config=ENDLESS)
        await stream.start()
        await stream._receive()
        left.append((other, stream))  # neither closed nor collected before the loop has ended
        if place[0] != "embedded":
            await other.close()

    left: list[object] = []
    threads = [threading.Thread(target=asyncio.run, args=(leave(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
        thread.join()
    wait_until(lambda: _running(client) == 0, "the engine to be idle")


@pytest.mark.served  # an embedded host has no limit
def test_a_server_that_is_silent_for_longer_than_the_limit_is_given_up(llm: lm.LLM, place: tuple[str, int]) -> None:
    llm.complete("x", config={"max_tokens": 1})
    server = psutil.Process(place[1])
    server.suspend()
    lm.set_sync_api_timeout(0.5)
    try:
        with pytest.raises(lm.RequestTimeoutError, match=r"0\.5 s.*llm/predict"):
            llm.complete("A prompt that the engine has not seen")
        with pytest.raises(TimeoutError):
            llm.count_tokens("x")
    finally:
        lm.set_sync_api_timeout(60)
        server.resume()
    assert llm.complete("My name is", config={"max_tokens": 1, "temperature": 0}).content
