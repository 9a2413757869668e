"""``studiolo get``, as people and programs use it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from studiolo.library import Library
from tests.support.model_files import write_gguf
from tests.support.web import Web

STUDIOLO = [sys.executable, "-m", "studiolo"]


@pytest.fixture
def hub(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setenv("STUDIOLO_HOST", "embedded")
    content = write_gguf(tmp_path / "made.gguf").read_bytes()
    for name in ("Q2_K", "Q4_K_M", "Q8_0"):
        web.add_file("me/tiny-GGUF", f"tiny-{name}.gguf", content)
    return web


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*STUDIOLO, *words], capture_output=True, text=True, timeout=60, check=False)


def fetched(library: Library) -> list[str]:
    return sorted(path.name for path in library.home.models.rglob("*.gguf"))


@pytest.mark.parametrize("words", [(), ("--yes",)])
def test_programs_are_not_asked(library: Library, hub: Web, words: tuple[str, ...]) -> None:
    done = run("get", "me/tiny-GGUF", *words)
    assert done.returncode == 0, done.stderr
    assert "me/tiny-GGUF@q4_k_m (recommended)" in done.stderr
    assert "fetching me/tiny-GGUF@q4_k_m" in done.stderr and "is in the library" in done.stderr
    assert fetched(library) == ["tiny-Q4_K_M.gguf"]


def test_the_quantisation_may_be_named(library: Library, hub: Web) -> None:
    assert run("get", "me/tiny-GGUF@Q8_0").returncode == 0
    assert run("get", f"{hub.url}/me/tiny-GGUF/resolve/main/tiny-Q2_K.gguf").returncode == 0
    assert fetched(library) == ["tiny-Q2_K.gguf", "tiny-Q8_0.gguf"]
    done = run("get", "me/tiny-GGUF@q3_k_s")
    assert done.returncode == 1 and "has no q3_k_s" in done.stderr and "Traceback" not in done.stderr


def test_a_path_relative_to_the_current_folder(
    library: Library, hub: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("get", "made.gguf").returncode == 0
    assert fetched(library) == ["made.gguf"]


def test_the_choices_as_a_table_and_as_json(library: Library, hub: Web) -> None:
    lines = run("get", "me/tiny-GGUF", "--list").stdout.splitlines()
    assert lines[0].split() == ["QUANT", "SIZE", "FITS", "NAME"]
    assert [line.split()[1] for line in lines[1:]] == ["Q2_K", "Q4_K_M", "Q8_0"]
    assert [line.endswith("(recommended)") for line in lines[1:]] == [False, True, False]
    options = json.loads(run("get", "me/tiny-GGUF", "--list", "--json").stdout)
    assert [option["quantization"] for option in options if option["recommended"]] == ["Q4_K_M"]
    assert fetched(library) == []


@pytest.mark.parametrize(("typed", "expected"), [("\n", "Q4_K_M"), ("9\nx\n3\n", "Q8_0")])
def test_people_are_asked(library: Library, hub: Web, typed: str, expected: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*STUDIOLO, "get", "me/tiny-GGUF"], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""
    while "Which one?" not in shown:
        shown += os.read(ours, 4096).decode()
    assert "Q8_0" in shown and "(recommended)" in shown
    os.write(ours, typed.encode())
    while True:
        try:
            shown += os.read(ours, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            break
    assert process.wait(30) == 0, shown
    os.close(ours)
    assert fetched(library) == [f"tiny-{expected}.gguf"]


def test_what_is_not_there_is_an_error(library: Library, hub: Web) -> None:
    for name, why in (
        ("me/none", "the hub has no repository me/none"),
        (f"{hub.url}/files/none.gguf", "HTTP 404"),
        ("./none.gguf", "none.gguf is not a file"),
        ("https://example.test/page", "No model matches"),
    ):
        done = run("get", name)
        assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr, done.stderr
