"""Commands whose standard streams are closed, full, or cannot show a letter."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import studiolo_fake_engine as fake

from studiolo.paths import Home
from tests.support.fake_host import SETTINGS
from tests.support.fake_models import add_model
from tests.support.homes import ENDLESS_ANSWERS
from tests.support.http_server import serving_in_thread
from tests.support.model_files import write_gguf
from tests.support.running import STUDIOLO, environment, wait_until
from tests.support.web import Web

pytestmark = [pytest.mark.quick_model, pytest.mark.slow]

NAME = "日本é😀-Q4_1"
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}
LATIN = {"PYTHONIOENCODING": "latin-1", "LC_ALL": "C.UTF-8"}
POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}


@pytest.fixture
def odd_home(empty_home: Home) -> Home:
    folder = empty_home.models / "p" / "q"
    folder.mkdir(parents=True)
    write_gguf(folder / f"{NAME}.gguf")
    write_gguf(folder / "plain-Q4_1.gguf")
    return empty_home


def shell(home: Home, line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line in which ``studiolo`` stands for the command."""
    line = line.replace("studiolo", shlex.join(STUDIOLO), 1)
    return subprocess.run(
        ["sh", "-c", line], env=environment(home, STUDIOLO_HOST="embedded", **more), capture_output=True, timeout=60
    )


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        ("ls", ASCII),
        ("ls", LATIN),
        ("ls", POSIX),
        ("ls --detailed", LATIN),
        ("doctor", ASCII),
        ("show plain-q4_1", POSIX),
    ],
)
def test_letters_that_cannot_be_shown_are_escaped(words: str, variables: dict[str, str], odd_home: Home) -> None:
    done = shell(odd_home, f"studiolo {words}", **variables)
    assert b"UnicodeEncodeError" not in done.stderr and b"Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or words == "doctor", done.stderr
    if words.startswith("ls"):
        assert b"plain" in done.stdout
        if variables is not POSIX:
            assert b"\\u65e5\\u672c" in done.stdout


@pytest.mark.parametrize("variables", [ASCII, LATIN, {"PYTHONIOENCODING": "utf-8"}], ids=["ascii", "latin-1", "utf-8"])
def test_json_is_complete_in_every_encoding(variables: dict[str, str], odd_home: Home) -> None:
    done = shell(odd_home, "studiolo ls --json", **variables)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("utf-8" if variables.get("PYTHONIOENCODING") == "utf-8" else "ascii")
    assert any("日本é😀" in each["path"] for each in json.loads(text))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_file_whose_name_cannot_be_decoded_is_reported(odd_home: Home) -> None:
    folder = odd_home.models / "p" / "q"
    (folder / "plain-Q4_1.gguf").rename(folder / os.fsdecode(b"b\xe9d-Q4_1.gguf"))
    done = shell(odd_home, "studiolo ls")
    assert done.returncode == 0 and done.stderr.count(b"b\\udce9d-Q4_1.gguf' cannot be used") == 1, done.stderr
    done = shell(odd_home, "studiolo ls", **POSIX)
    assert done.returncode == 0 and done.stderr.count(b"cannot be used: its name is not in the encoding") == 2


def test_error_messages_are_escaped(odd_home: Home) -> None:
    done = shell(odd_home, f"studiolo show {NAME}x", **ASCII)
    assert done.returncode == 1 and b"Traceback" not in done.stderr and b"UnicodeEncodeError" not in done.stderr


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        *(("ls", closed) for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-")),
        *((words, "<&- >&- 2>&-") for words in ("ls --json", "--version", "show plain-q4_1")),
    ],
)
def test_closed_descriptors_are_no_error(words: str, closed: str, odd_home: Home) -> None:
    done = shell(odd_home, f"studiolo {words} {closed}")
    assert (done.returncode, b"Error" in done.stderr) == (0, False), done.stderr


def test_without_standard_input_nothing_is_removed(odd_home: Home) -> None:
    for closed in ("<&-", "</dev/null"):
        done = shell(odd_home, f"studiolo rm plain-q4_1 {closed}")
        assert done.returncode == 1 and b"--yes" in done.stderr and b"Error" not in done.stderr, done.stderr
    assert (odd_home.models / "p" / "q" / "plain-Q4_1.gguf").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", ["ls", "ls --json", "doctor", "--version"])
def test_a_full_disk_under_standard_output_is_named(words: str, odd_home: Home) -> None:
    done = shell(odd_home, f"studiolo {words} >/dev/full")
    assert done.returncode == 1
    assert b"Standard output cannot be written to. No space left on device" in done.stderr
    assert b"OSError" not in done.stderr and b"Exception ignored" not in done.stderr


def test_a_full_disk_under_standard_error_hides_no_exit_status(odd_home: Home) -> None:
    assert shell(odd_home, "studiolo show nonesuch 2>/dev/full").returncode == 1
    assert shell(odd_home, "studiolo ls 2>/dev/full").returncode == 0


def test_a_reader_that_leaves_is_no_error(odd_home: Home) -> None:
    done = shell(odd_home, "studiolo ls --json | head -c 5")
    assert done.returncode == 0 and done.stderr == b""


@pytest.mark.parametrize("variables", [ASCII, LATIN], ids=["ascii", "latin-1"])
def test_the_lines_of_logs_are_escaped(variables: dict[str, str], odd_home: Home) -> None:
    odd_home.logs.mkdir()
    (odd_home.logs / "server.log").write_text("2026-01-01T00:00:00.000Z 日本 says\nthe end\n", encoding="utf-8")
    done = shell(odd_home, "studiolo log", **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u65e5\\u672c says" in done.stdout and b"the end" in done.stdout
    done = shell(odd_home, "studiolo log --json", **variables)
    assert [json.loads(line)["line"] for line in done.stdout.splitlines()] == ["日本 says", "the end"]
    assert shell(odd_home, "studiolo log >&-", **variables).returncode == 0


@pytest.fixture
def fake_address(empty_home: Home) -> Iterator[str]:
    """The address of a server on the fake engine."""
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(SETTINGS)
    fake.reset()
    fake.models["alpha"] = fake.FakeModel(tokens=("日本", "é", " end"))
    with serving_in_thread() as server:
        yield server.url.removeprefix("http://")
    fake.reset()


def complete(address: str, home: Home, *words: str, given: bytes = b"", **variables: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [*STUDIOLO, "complete", "-m", "alpha", *words],
        env=environment(home, STUDIOLO_HOST=address, **variables),
        input=given,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_completed_text_is_escaped_on_a_fake_engine(fake_address: str, empty_home: Home) -> None:
    for variables, shown in ((ASCII, b"\\u65e5\\u672c\\xe9 end\n"), (LATIN, b"\\u65e5\\u672c\xe9 end\n")):
        assert complete(fake_address, empty_home, "x", **variables) == (0, shown, b"")
    status, out, _ = complete(fake_address, empty_home, "x", "--json", **ASCII)
    assert status == 0 and json.loads(out.decode("ascii"))["content"] == "日本é end"


def test_a_prompt_that_the_locale_cannot_decode_is_utf_8_on_a_fake_engine(fake_address: str, empty_home: Home) -> None:
    for words, given in ((("日本", "--stop", "é"), b""), (("-",), "日本é".encode())):
        status, out, err = complete(fake_address, empty_home, *words, given=given, **POSIX)
        assert (status, err) == (0, b"") and out.startswith(b"\\u65e5\\u672c"), err
    status, out, err = complete(fake_address, empty_home, "-", given=b"\xe9", **POSIX)
    assert (status, out) == (1, b"") and b"The prompt is not a text in UTF-8" in err


@pytest.mark.parametrize("variables", [ASCII, POSIX], ids=["ascii", "posix"])
def test_what_a_search_finds_is_escaped(variables: dict[str, str], empty_home: Home, web: Web) -> None:
    web.add_file("me/tiny-日本", "tiny.gguf", b"any")
    done = shell(empty_home, "studiolo search 日本", **variables)
    assert (done.returncode, done.stderr) == (0, b"") and b"me/tiny-\\u65e5\\u672c" in done.stdout
    done = shell(empty_home, "studiolo search 日本 --json", **variables)
    assert json.loads(done.stdout.decode("ascii"))[0]["identifier"] == "me/tiny-日本"


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_a_server_without_standard_streams_serves(closed: str, empty_home: Home) -> None:
    import studiolo as lm
    from tests.support.running import free_port

    address = f"127.0.0.1:{free_port()}"
    words = ["serve", "--port", address.rpartition(":")[2], "--no-load", "--no-sdk-port"]
    line = f"exec {shlex.join([*STUDIOLO, *words])} {closed}"
    process = subprocess.Popen(["sh", "-c", line], env=environment(empty_home), stderr=subprocess.PIPE)
    try:
        wait_until(lambda: lm.Client.is_valid_api_host(address) or process.poll() is not None, "the server")
        assert process.poll() is None
        numbers = [Path(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        if sys.platform == "linux":
            assert not any(str(number.readlink()).startswith(("socket:", "anon_inode:")) for number in numbers)
        with lm.Client(address) as client:
            assert client.list_loaded_models() == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_completion_whose_reader_leaves_ends_with_its_engine(home: Home) -> None:
    with home.settings.open("a") as settings:
        settings.write(ENDLESS_ANSWERS)
    line = f'{shlex.join(STUDIOLO)} complete "1 2 3 4 5" --temperature 0 | head -c 5'
    done = subprocess.run(
        ["sh", "-c", line], env=environment(home, STUDIOLO_HOST="embedded"), capture_output=True, timeout=100
    )
    assert len(done.stdout) == 5 and b"Traceback" not in done.stderr and b"Error" not in done.stderr
