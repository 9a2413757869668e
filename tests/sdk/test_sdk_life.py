"""The SDK in long-lived programs: lost servers, threads, forks, event loops, and how programs end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports import websocket
from tests.support.homes import ENDLESS, link_models
from tests.support.running import Server, environment, free_port, serving, wait_until

pytestmark = pytest.mark.quick_model

COUNT = "1 2 3 4 5 6 7"
SHORT = {"temperature": 0, "max_tokens": 3}
MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def settled(quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with the default model, small in memory, for this file."""
    home = Home(tmp_path_factory.mktemp("life") / "home")
    home.root.mkdir()
    home.settings.write_text(f'[library]\nprograms = []\n[models."{MODEL}"]\nload = {{ context_length = 2048 }}\n')
    link_models(quick_home, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIOLO_HOME", str(home.root))
        patch.delenv("STUDIOLO_HOST", raising=False)
        yield home


@pytest.fixture(scope="module")
def server(settled: Home) -> Iterator[Server]:
    with serving(settled, settled.root, "--no-load") as server:
        yield server


@pytest.fixture(params=["embedded", "served"])
def where(request: pytest.FixtureRequest, settled: Home) -> str:
    return "embedded" if request.param == "embedded" else request.getfixturevalue("server").address


@pytest.fixture
def hanging(server: Server) -> Iterator[None]:
    """The server is there and says nothing, for the length of the test; calls wait half a second."""
    yield
    server.process.send_signal(signal.SIGCONT)
    lm.set_sync_api_timeout(60)


def test_a_server_that_says_nothing_is_given_up(server: Server, hanging: None) -> None:
    with lm.Client(server.address) as client:
        llm = client.llm.model(MODEL)
        expected = llm.complete("My name is", config=SHORT).content
        stream = llm.complete_stream(COUNT, config=ENDLESS)
        fragments = iter(stream)
        next(fragments)
        server.process.send_signal(signal.SIGSTOP)
        lm.set_sync_api_timeout(0.5)
        with pytest.raises(lm.RequestTimeoutError, match="llm/predict"):
            for _ in fragments:
                pass
        with pytest.raises(lm.RequestTimeoutError, match="countTokens"):
            llm.count_tokens("x")
        with pytest.raises(lm.RequestTimeoutError, match="listLoaded"):
            client.embedding.list_loaded()  # a socket that is yet to be opened
        with pytest.raises(lm.RequestTimeoutError, match="host to be found"):
            lm.Client(server.address).connect()
        server.process.send_signal(signal.SIGCONT)
        lm.set_sync_api_timeout(60)
        assert llm.complete("My name is", config=SHORT).content == expected


def test_a_server_that_vanished_without_a_word_is_noticed_without_a_call_limit(
    server: Server, hanging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "PING_INTERVAL_SEC", 0.2)
    monkeypatch.setattr(websocket, "PING_LIMIT_SEC", 5)
    with lm.Client(server.address) as client:
        llm = client.llm.model(MODEL)
        lm.set_sync_api_timeout(None)
        server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(lm.LMStudioWebsocketError, match=r"lost|not reachable"):
            llm.count_tokens("x")
        server.process.send_signal(signal.SIGCONT)
        monkeypatch.undo()
        assert llm.count_tokens("My name is") == 3


async def test_calls_in_flight_fail_when_the_server_dies_and_old_handles_work_with_the_next(settled: Home) -> None:
    port = str(free_port())
    in_flight = threading.Event()
    ends: list[BaseException] = []

    def stream(llm: lm.LLM) -> None:
        try:
            for _ in llm.complete_stream(COUNT, config=ENDLESS):
                in_flight.set()
        except BaseException as error:
            ends.append(error)

    client, other = lm.Client(f"127.0.0.1:{port}"), lm.AsyncClient(f"127.0.0.1:{port}")
    with serving(settled, settled.root, "--no-load", "--port", port) as first:
        llm = await asyncio.to_thread(client.llm.model, MODEL)
        async_llm = await other.llm.model(MODEL)
        thread = threading.Thread(target=stream, args=(llm,))
        thread.start()
        async_stream = async_llm.complete_stream(COUNT, config=ENDLESS)
        fragments = aiter(async_stream)
        await anext(fragments)
        assert await asyncio.to_thread(in_flight.wait, 30)
        first.process.kill()
        with pytest.raises(lm.ConnectionFailedError, match="lost"):
            async for _ in fragments:
                pass
        await asyncio.to_thread(thread.join, 30)
        assert [type(error) for error in ends] == [lm.ConnectionFailedError]
        with pytest.raises(lm.ConnectionFailedError, match=port):
            await async_llm.count_tokens("x")
    with serving(settled, settled.root, "--no-load", "--port", port):
        assert await async_llm.count_tokens("My name is") == 3
        assert await asyncio.to_thread(llm.count_tokens, "My name is") == 3
        await asyncio.to_thread(client.close)
        await other.close()


def test_many_threads_use_one_client(where: str) -> None:
    with lm.Client(where) as client:
        llm = client.llm.model(MODEL)
        prompts = ["My name is", "Once upon a time", "The capital of France is", "2 + 2 ="]
        tokens = {prompt: llm.tokenize(prompt) for prompt in prompts}

        def work(number: int) -> None:
            prompt = prompts[number % len(prompts)]
            stream = llm.complete_stream(prompt, config=SHORT)
            text = "".join(fragment.content for fragment in stream)
            assert stream.result().content == text != ""
            for _ in range(10):
                assert llm.tokenize(prompt) == tokens[prompt]
                assert llm in client.llm.list_loaded()

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(work, range(24)))


def test_a_client_that_threads_use_for_the_first_time_at_once(where: str) -> None:
    with lm.Client(where) as client, ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: client.llm.model(MODEL), range(8)))
        assert {handle.identifier for handle in loaded} == {MODEL}


def test_the_sync_api_in_a_running_event_loop_and_the_async_one_beside_it(where: str) -> None:
    async def cell() -> None:
        with lm.Client(where) as client:
            llm = client.llm.model(MODEL)
            texts = [str(fragment) for fragment in llm.complete_stream("My name is", config=SHORT)]
            async with lm.AsyncClient(where) as other:
                handle = await other.llm.model(MODEL)
                assert (await handle.complete("My name is", config=SHORT)).content == "".join(texts)

    asyncio.run(cell())


def test_an_async_client_goes_from_one_event_loop_to_the_next(where: str) -> None:
    client = lm.AsyncClient(where)

    async def count(close: bool = False) -> int:
        try:
            return await (await client.llm.model(MODEL)).count_tokens("My name is")
        finally:
            if close:
                await client.close()

    assert [asyncio.run(count()), asyncio.run(count(close=True))] == [3, 3]


async def test_an_async_client_in_two_event_loops_at_once_is_refused(server: Server) -> None:
    async with lm.AsyncClient(server.address) as client:
        await client.llm.list_loaded()
        with pytest.raises(lm.UsageError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, client.llm.list_loaded())


def test_an_iteration_that_is_collected_on_the_background_loop_is_stopped(where: str) -> None:
    with lm.Client(where) as client:
        llm = client.llm.model(MODEL)
        left = [iter(llm.complete_stream(COUNT, config=ENDLESS))]
        next(left[0])
        background.loop().call_soon_threadsafe(left.clear)  # what the collector may do with a cycle
        wait_until(lambda: _running(client) == 0, "the prediction to be stopped")


def _running(client: lm.Client) -> int:
    about = client.system.info().studiolo
    assert about is not None
    return sum(instance.running for instance in about.instances)


def _sockets() -> int:
    return len([found for found in psutil.Process().net_connections("tcp") if found.status == "ESTABLISHED"])


def test_clients_that_are_closed_leave_nothing(where: str) -> None:
    def use() -> None:
        with lm.Client(where) as client:
            client.llm.model(MODEL).complete("x", config=SHORT)
            client.embedding.list_loaded()

    async def use_async() -> None:
        before = asyncio.all_tasks()
        async with lm.AsyncClient(where) as client:
            await (await client.llm.model(MODEL)).complete("x", config=SHORT)
        assert asyncio.all_tasks() == before

    use()
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")}
    files, sockets = psutil.Process().num_fds(), _sockets()
    for _ in range(4):
        use()
        asyncio.run(use_async())
    wait_until(lambda: _sockets() <= sockets, "the sockets to be closed")
    wait_until(lambda: psutil.Process().num_fds() <= files + 2, "the files to be closed")
    assert {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")} <= threads


FORKING = f"""
import os, sys, warnings
import studiolo as lm
warnings.filterwarnings("ignore", "This process .*is multi-threaded", DeprecationWarning)  # that is what is tried here
client = lm.Client(sys.argv[1])
llm = client.llm.model("{MODEL}")
short = {{"temperature": 0, "max_tokens": 3}}
expected = llm.complete("My name is", config=short).content
stream = llm.complete_stream("{COUNT}", config={{"temperature": 0, "repeat_penalty": False, "max_tokens": 60}})
fragments = iter(stream)
next(fragments)
child = os.fork()
if not child:
    try:
        for _ in fragments: pass  # what had come before the fork is its own
        print("the child reads what is the parent's")
    except lm.UsageError as error:
        assert "fork" in str(error), error
    stream.cancel()
    assert client.llm.model("{MODEL}").complete("My name is", config=short).content == expected
    assert llm.count_tokens("My name is") == 3
    client.close()
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
for _ in fragments: pass
assert stream.result().stats.stop_reason == "maxPredictedTokensReached", stream.result().stats
assert llm.complete("My name is", config=short).content == expected
assert llm in client.llm.list_loaded()
print("good")
"""

UNCLOSED = f"""
import sys
import studiolo as lm
client = lm.Client(sys.argv[1])
print(client.llm.model("{MODEL}").complete("x", config={{"max_tokens": 2}}))
client.embedding.list_loaded()
class Keeper:  # in a cycle, which is collected when everything else has ended
    pass
keeper = Keeper()
keeper.me, keeper.left = keeper, iter(client.llm.model("{MODEL}").complete_stream("{COUNT}"))
next(keeper.left)
"""

UNCLOSED_ASYNC = f"""
import asyncio, sys
import studiolo as lm
async def main():
    client = lm.AsyncClient(sys.argv[1])
    llm = await client.llm.model("{MODEL}")
    print(await llm.complete("x", config={{"max_tokens": 2}}))
    async for _ in llm.complete_stream("{COUNT}"):
        break
    await client.embedding.list_loaded()
asyncio.run(main())
"""

FAILING = f"""
import sys
import studiolo as lm
client = lm.Client(sys.argv[1])
for _ in client.llm.model("{MODEL}").complete_stream("{COUNT}"):
    raise LookupError("on purpose")
"""

INTERRUPTED = f"""
import sys
import studiolo as lm
client = lm.Client(sys.argv[1])
print("ready", flush=True)
for fragment in client.llm.model("{MODEL}").complete_stream("{COUNT}" * 20, config={ENDLESS!r}):
    print(fragment, end="", flush=True)
"""

STRICT = ["-X", "dev", "-W", "error"]


def _run(program: str, where: str, home: Home) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *STRICT, "-c", program, where]
    there = environment(home, PYTHONASYNCIODEBUG="1")
    done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=200)
    done.stderr = _without_slow_steps(done.stderr)
    return done


def _without_slow_steps(said: str) -> str:
    """Leave out what asyncio's debug mode says of a busy machine."""
    return "\n".join(line for line in said.splitlines() if "Executing <" not in line)


def test_a_fork_works_and_leaves_the_parents_work_alone(where: str, settled: Home) -> None:
    done = _run(FORKING, where, settled)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "good\n")


@pytest.mark.parametrize("program", [UNCLOSED, UNCLOSED_ASYNC], ids=["sync", "async"])
def test_a_program_that_closes_nothing_ends_without_a_warning(program: str, where: str, settled: Home) -> None:
    done = _run(program, where, settled)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_program_that_fails_in_mid_stream_prints_its_own_error_alone(where: str, settled: Home) -> None:
    done = _run(FAILING, where, settled)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "LookupError: on purpose"
    assert done.stderr.count("Traceback") == 1 and "Warning" not in done.stderr


def test_a_program_that_is_interrupted_in_mid_stream_ends(where: str, settled: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, *STRICT, "-c", INTERRUPTED, where],
        env=environment(settled),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.read(3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    said = _without_slow_steps(said)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert said.count("Traceback") == 1 and "Warning" not in said


def test_a_peer_that_takes_connections_and_says_nothing_is_no_server(settled: Home) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        lm.set_sync_api_timeout(0.3)
        try:
            with pytest.raises(lm.RequestTimeoutError, match="host to be found"):
                lm.Client(address).connect()
        finally:
            lm.set_sync_api_timeout(60)


def test_the_types_are_known_to_type_checkers() -> None:
    assert (Path(lm.__file__).parent / "py.typed").exists()


async def test_a_cancelled_caller_ends_wherever_its_prediction_is(where: str) -> None:
    async with lm.AsyncClient(where) as client:
        llm = await client.llm.model()

        async def forever() -> None:
            while True:
                await llm.complete("My name is", config={"max_tokens": 1})

        for step in range(60):
            task = asyncio.create_task(forever())
            await asyncio.sleep(step % 20 * 0.002)  # by then, a prediction has begun and ended
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=10)
            assert done and task.cancelled()
