"""The commands about the models on disk, as a person or a script uses them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from studiolo.paths import Home
from tests.support.command_line import good, run
from tests.support.homes import link_model
from tests.support.model_files import write_gguf
from tests.support.running import STUDIOLO, environment, serving

pytestmark = pytest.mark.slow


@pytest.fixture
def stocked(empty_home: Home, vision_model: Path, embedding_model: Path) -> Home:
    """A home with a vision model in two variants, an embedding model, and a file that is no model."""
    tiny = empty_home.models / link_model(vision_model, empty_home)
    tiny.with_name("tiny-vision.Q8_0.gguf").symlink_to(vision_model)
    link_model(embedding_model, empty_home)
    (empty_home.models / "page.gguf").write_text("<html>")
    return empty_home


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_ls_has_a_line_for_each_model_and_lists_what_cannot_be_used(stocked: Home) -> None:
    table, broken = good(run(stocked, "ls")).split("\n\n")
    assert lines(table) == [
        ["MODEL", "PARAMS", "QUANT", "ARCH", "CONTEXT", "SIZE", "VARIANTS"],
        ["text-embedding-all-minilm-l6-v2", "23M", "F16", "bert", "512", "46", "MB", "1"],
        ["tiny-vision", "607K", "F16", "llama", "4096", "2", "MB", "2"],
    ]
    assert broken.startswith("These cannot be used:\n  page: ") and "not a GGUF file" in broken


def test_ls_of_a_kind_and_of_variants(stocked: Home) -> None:
    assert [line[0] for line in lines(good(run(stocked, "ls", "--llm")))] == ["MODEL", "tiny-vision"]
    assert [line[0] for line in lines(good(run(stocked, "ls", "--embedding")))] == [
        "MODEL",
        "text-embedding-all-minilm-l6-v2",
    ]
    each = lines(good(run(stocked, "ls", "--llm", "--variants")))
    assert [(line[0], line[-1]) for line in each] == [
        ("MODEL", "DEFAULT"),
        ("tiny-vision@f16", "-"),
        ("tiny-vision@q8_0", "yes"),
    ]
    done = run(stocked, "ls", "--llm", "--embedding")
    assert done.returncode == 2 and "Give --llm, --embedding, or neither" in done.stderr


def test_ls_in_detail_and_as_json(stocked: Home, audio_model: Path) -> None:
    link_model(audio_model, stocked)
    columns, _, ears, tiny = lines(good(run(stocked, "ls", "--detailed")).split("\n\n")[0])
    assert columns[-5:] == ["TYPE", "ABILITIES", "LOADED", "FROM", "FILE"]
    assert ears[0] == "tiny-audio" and ears[-4] == "audio"
    assert tiny[-5:-1] == ["llm", "vision", "-", "studiolo"] and tiny[-1].endswith(".gguf")
    models = {model["modelKey"]: model for model in json.loads(good(run(stocked, "ls", "--json")))}
    assert sorted(models) == ["page", "text-embedding-all-minilm-l6-v2", "tiny-audio", "tiny-vision"]
    assert "not a GGUF file" in models["page"]["error"]
    assert models["tiny-vision"]["variants"] == ["tiny-vision@f16", "tiny-vision@q8_0"]
    assert models["tiny-audio"]["audio"] and not models["tiny-audio"]["vision"]
    assert models["tiny-vision"]["vision"] and models["tiny-vision"]["type"] == "llm"
    assert len(json.loads(good(run(stocked, "ls", "--json", "--variants")))) == 5


def test_ls_of_nothing(empty_home: Home) -> None:
    done = run(empty_home, "ls")
    assert good(done) == "" and "the library is empty" in done.stderr
    assert json.loads(good(run(empty_home, "ls", "--json"))) == []


def test_names_from_files_do_not_steer_the_terminal(empty_home: Home) -> None:
    write_gguf(
        empty_home.models / "a.gguf",
        arch="llama",
        general__size_label="\x1b[31mred",
        general__name="\x1b]0;x\x07",
        tokenizer__chat_template="{{ x }}\n\x1b[2J",
    )
    for words in (("ls",), ("show", "a")):
        text = good(run(empty_home, *words))
        assert "\x1b" not in text and "\\x1b[31mred" in text


def test_show_prints_everything(home: Home) -> None:
    text = good(run(home, "show", "smol"))
    assert "smollm2-135m-instruct" in text and "134,515,008 (135M)" in text and "8,192 tokens" in text
    assert "  llama.attention.head_count = 9\n" in text
    assert "\nChat template\n{% for message in messages %}" in text
    details = json.loads(good(run(home, "show", "smol", "--json")))
    assert details["model"]["modelKey"] == "smollm2-135m-instruct"
    assert details["chatTemplate"].startswith("{% for message in messages %}")
    assert details["header"]["general.license"] == "apache-2.0"
    assert "tokenizer.chat_template" not in details["header"]


def test_show_of_variants_of_what_is_broken_and_of_nothing(stocked: Home) -> None:
    text = good(run(stocked, "show", "tiny-vision"))
    assert "tiny-vision (tiny-vision@f16, tiny-vision@q8_0), its default" in text and "mmproj-tiny-vision" in text
    assert "It cannot be used: " in good(run(stocked, "show", "page"))
    done = run(stocked, "show", "nothing")
    assert done.returncode == 1 and "No model matches 'nothing'" in done.stderr


def test_import_and_rm(empty_home: Home, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "Mine-Q4_0.gguf")
    place = empty_home.models / "me" / "mine" / file.name
    dry = run(empty_home, "import", str(file), "--user-repo", "me/mine", "--dry-run")
    assert good(dry) == f"would move {file} to {place}\n" and file.exists() and not empty_home.models.exists()
    done = run(empty_home, "import", str(file), "--user-repo", "me/mine", "--copy")
    assert good(done) == "" and f"mine is in the library, at {place}" in done.stderr
    assert file.exists() and place.read_bytes() == file.read_bytes()
    again = run(empty_home, "import", str(file), "--user-repo", "me/mine")
    assert again.returncode == 1 and "exists already" in again.stderr and file.exists()
    two = run(empty_home, "import", str(file), "--copy", "--hard-link")
    assert two.returncode == 2 and "Give one of" in two.stderr
    unasked = run(empty_home, "rm", "mine", stdin="y\n")
    assert unasked.returncode == 1 and "Add --yes" in unasked.stderr and place.exists()
    removed = run(empty_home, "rm", "mine", "--yes")
    assert good(removed) == "" and str(place) in removed.stderr and "mine is removed" in removed.stderr
    assert list(empty_home.models.iterdir()) == []


@pytest.mark.parametrize(("answer", "status"), [("n", 130), ("y", 0)])
def test_rm_asks_at_a_terminal(empty_home: Home, answer: str, status: int) -> None:
    file = write_gguf(empty_home.models / "mine.gguf")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*STUDIOLO, "rm", "mine"],
        env=environment(empty_home, STUDIOLO_HOST="embedded"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(ours, f"{answer}\n".encode())
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == status, said
    assert "Remove mine (17 kB)?" in said and str(file) in said
    assert file.exists() == (answer == "n")


def test_rm_of_a_model_with_variants_wants_to_know_which(stocked: Home) -> None:
    for name in ("tiny-vision", "tiny"):
        done = run(stocked, "rm", name, "--yes")
        assert done.returncode == 1 and "tiny-vision@f16, tiny-vision@q8_0" in done.stderr
    good(run(stocked, "rm", "tiny-vision@q8_0", "--yes"))
    good(run(stocked, "rm", "tiny-vision", "--yes"))
    assert "tiny-vision" not in "".join(os.listdir(stocked.models / "tests"))  # noqa: PTH208


def test_rm_leaves_a_model_that_a_server_has_loaded(home: Home, tmp_path: Path) -> None:
    with serving(home, tmp_path, "--no-load") as server:
        good(run(home, "load", "smol", "--identifier", "mine", host=server.address))
        (model,) = json.loads(good(run(home, "ls", "--json", host=server.address)))
        assert model["loadedAs"] == ["mine"]
        done = run(home, "rm", "smol", "--yes", host=server.address)
        assert done.returncode == 1
        assert "is loaded, as mine. First: studiolo unload mine" in done.stderr
        good(run(home, "unload", "mine", host=server.address))
        good(run(home, "rm", "smol", "--yes", host=server.address))
        assert json.loads(good(run(home, "ls", "--json", host=server.address))) == []
