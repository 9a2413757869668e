"""The founding programs, run as a stranger runs them; and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from studiolo.paths import Home
from tests.support.founding_programs import CLIENT, CONVENIENCE, with_studiolo
from tests.support.homes import ENDLESS, SHORTER_ANSWERS
from tests.support.running import WORKER, environment, has_ended, serving, wait_until, workers_of

pytestmark = pytest.mark.quick_model

ASYNC_CLIENT = """
import asyncio
import studiolo

async def main():
    async with studiolo.AsyncClient("embedded") as client:
        llm = await client.llm.model()
        async for token in llm.complete_stream("My name is", config={"max_tokens": 20}):
            print(token, end="", flush=True)
        print(await llm.complete("My name is", config={"max_tokens": 20}))

asyncio.run(main())
asyncio.run(main())  # another event loop, the same host
"""

RUNNING = f"""
import os, sys, time
import studiolo as lm
llm = lm.llm()
print("pid", os.getpid(), flush=True)
for token in llm.complete_stream("1 2 3 4 5 6 7", config={ENDLESS!r}):
    print(token, end="", flush=True)
time.sleep(60)
"""

INTERRUPTED = f"""
import studiolo as lm
llm = lm.llm()
print("ready", flush=True)
stream = llm.complete_stream("1 2 3 4 5 6 7", config={ENDLESS!r})
try:
    for token in stream:
        print(token, end="", flush=True)
    print("not interrupted")
except KeyboardInterrupt:
    pass
print("after:", llm.complete("My name is", config={{"max_tokens": 3, "temperature": 0}}).stats.predicted_tokens_count)
print("engine:", lm.get_default_client().system.info().studiolo.instances[0].pid)
"""


@pytest.mark.parametrize("program", [with_studiolo(CONVENIENCE), with_studiolo(CLIENT), ASYNC_CLIENT])
def test_the_program_prints_completions_and_leaves_nothing(program: str, home: Home) -> None:
    home.settings.write_text("[library]\nprograms = []\n" + SHORTER_ANSWERS)
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # a short path: sockets lie in it
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        env=environment(home, STUDIOLO_HOST="embedded", TMPDIR=str(temporary)),
        capture_output=True,
        text=True,
        timeout=390,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 10
    assert "Warning" not in done.stderr and "Error" not in done.stderr
    assert list(temporary.iterdir()) == []
    temporary.rmdir()
    assert [process for process in psutil.process_iter() if _is_worker_of(home, process)] == []


def _is_worker_of(home: Home, process: psutil.Process) -> bool:
    try:
        return WORKER in process.cmdline() and process.environ().get("STUDIOLO_HOME") == str(home.root)
    except psutil.Error:
        return False


def _started(program: str, home: Home, sign: str, **variables: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(home, STUDIOLO_HOST="embedded", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert sign in process.stdout.readline()
    process.stdout.read(5)  # it streams
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_engine_outlives_a_killed_program(number: signal.Signals, home: Home) -> None:
    process = _started(RUNNING, home, "pid")
    workers = workers_of(process.pid)
    assert len(workers) == 1
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_until(lambda: all(has_ended(worker) for worker in workers), "the engine to end")


def test_ctrl_c_during_a_stream_leaves_a_working_client(home: Home) -> None:
    process = _started(INTERRUPTED, home, "ready")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "after: 3\n" in out, out[-200:]
    assert "not interrupted" not in out


def test_ctrl_c_of_a_terminal_reaches_the_whole_group_and_not_the_engine(home: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env=environment(home, STUDIOLO_HOST="embedded"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.read(5)
    (worker,) = workers_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.endswith(f"after: 3\nengine: {worker.pid}\n"), out[-200:]  # the same engine as before


def test_what_a_killed_host_left_is_removed_by_the_next(home: Home) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:  # where no host of another test tidies up
        process = _started(RUNNING, home, "pid", TMPDIR=temporary)
        folders = list(Path(temporary).glob(f"studiolo-sockets-{process.pid}-*"))
        assert len(folders) == 1
        process.kill()
        process.communicate(timeout=60)
        assert folders[0].exists()
        subprocess.run(
            [sys.executable, "-c", "import studiolo; studiolo.Client('embedded').list_downloaded_models()"],
            env=environment(home, TMPDIR=temporary),
            check=True,
            timeout=60,
        )
        assert not folders[0].exists()


def test_the_public_module_is_light_and_its_names_are_all_there() -> None:
    code = (
        "import sys, studiolo\n"
        "heavy = {'asyncio', 'msgspec', 'aiohttp', 'websockets', 'litestar', 'gguf', 'xllamacpp'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in studiolo.__all__: getattr(studiolo, name)\n"
        "assert 'xllamacpp' not in sys.modules and 'litestar' not in sys.modules\n"
        "try: studiolo.nonesuch\n"
        "except AttributeError as error: assert 'nonesuch' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_program_of_a_served_host_leaves_no_connection_open(home: Home, tmp_path: Path) -> None:
    program = 'import studiolo as lm\nprint(lm.llm("smollm2-135m-instruct").respond("Hi", config={"max_tokens": 2}))'
    with serving(home, tmp_path, "--no-load") as server:
        command = [sys.executable, "-W", "error", "-c", program]
        there = environment(home, STUDIOLO_HOST=server.address)
        done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
