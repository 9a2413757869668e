"""Files that are damaged, gone, forbidden, or too large: with the real engine."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy
import pytest

import studiolo as lm
from studiolo.errors import EngineStartError, ModelFileError, StudioloError
from studiolo.library.gguf_file import read_metadata
from studiolo.paths import Home
from tests.support.faults import MODEL, SMALL, answer, kill_engine, nothing_left, status_of, undisturbed
from tests.support.homes import link_models
from tests.support.running import Server, environment, wait_until, workers_of

pytestmark = [pytest.mark.quick_model, pytest.mark.timeout(170)]


@pytest.fixture(scope="module")
def weights(quick_home: Home) -> Path:
    return next(path for path in quick_home.models.rglob("*.gguf") if path.name.startswith("SmolLM2"))


@pytest.fixture
def place(server: Server, client: lm.Client) -> Iterator[Path]:
    """A folder in the server's library, emptied afterwards."""
    about = client.system.info().studiolo
    assert about is not None
    folder = Path(about.models_folder) / "tests" / "faulty"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder.parent)


@pytest.mark.parametrize(
    ("length", "said"),
    [(0, "is empty"), (3, "not a GGUF file"), (100_000, "is incomplete"), (5_000_000, "is incomplete")],
)
def test_an_empty_or_truncated_file(
    server: Server, client: lm.Client, place: Path, weights: Path, length: int, said: str
) -> None:
    with nothing_left(server.pid), undisturbed(server.address):
        with weights.open("rb") as whole:
            (place / "cut.gguf").write_bytes(whole.read(length))
        with pytest.raises(ModelFileError, match=said):
            client.llm.load_new_instance("cut", config=SMALL)


def test_bits_flipped_anywhere(server: Server, client: lm.Client, place: Path, weights: Path) -> None:
    """A flipped bit in the header is refused, or does no harm; in the weights it changes the text at most."""
    size = weights.stat().st_size
    header = gguf.GGUFReader(weights).data_offset  # fields, vocabulary, table of tensors
    choose = random.Random(11)
    places = [choose.randrange(2000) for _ in range(4)] + [choose.randrange(header) for _ in range(4)]
    places += [choose.randrange(header, size) for _ in range(2)]
    outcomes: list[str] = []
    with nothing_left(server.pid), undisturbed(server.address):
        for number, index in enumerate(places):
            file = place / f"flipped-{number}.gguf"
            shutil.copyfile(weights, file)
            with file.open("r+b") as flipped:
                flipped.seek(index)
                (byte,) = flipped.read(1)
                flipped.seek(index)
                flipped.write(bytes([byte ^ 1 << choose.randrange(8)]))
            try:
                llm = client.llm.load_new_instance(f"flipped-{number}", config=SMALL)
                answer(llm, 4)
                llm.unload()
                outcomes.append("harmless")
            except StudioloError as error:
                assert isinstance(error, ModelFileError | EngineStartError | lm.PredictionError | lm.EngineDiedError)
                outcomes.append(type(error).__name__)
                if isinstance(error, lm.PredictionError | lm.EngineDiedError):
                    client.llm.unload(f"flipped-{number}")
    assert len(outcomes) == len(places)
    assert outcomes[-2:] == ["harmless"] * 2


def test_an_architecture_that_no_engine_knows(server: Server, client: lm.Client, place: Path) -> None:
    with nothing_left(server.pid), undisturbed(server.address):
        path = place / "novel.gguf"
        writer = gguf.GGUFWriter(path, "novel-architecture")
        writer.add_context_length(128)
        writer.add_tensor("token_embd.weight", numpy.zeros((64, 64), dtype=numpy.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        assert read_metadata(path).architecture == "novel-architecture"
        with pytest.raises(ModelFileError, match="novel-architecture"):
            client.llm.load_new_instance("novel", config={**SMALL, "context_length": 128})


def test_a_file_removed_while_it_is_loaded(server: Server, client: lm.Client, place: Path, weights: Path) -> None:
    with nothing_left(server.pid), undisturbed(server.address):
        path = place / "fleeting.gguf"
        path.symlink_to(weights)
        llm = client.llm.load_new_instance("fleeting", config=SMALL)
        expected = answer(llm)
        path.unlink()
        assert answer(llm) == expected  # the engine holds it open
        kill_engine(client, "fleeting")
        wait_until(lambda: getattr(status_of(client, "fleeting"), "state", "") == "crashed", "the crash")
        with pytest.raises(ModelFileError, match="is gone"):
            answer(llm)
        path.symlink_to(weights)
        assert answer(llm) == expected
        llm.unload()


def test_a_file_cut_short_while_it_is_loaded(server: Server, client: lm.Client, place: Path, weights: Path) -> None:
    with nothing_left(server.pid), undisturbed(server.address):
        path = place / "shrinking.gguf"
        shutil.copyfile(weights, path)
        llm = client.llm.load_new_instance("shrinking", config=SMALL)
        expected = answer(llm)
        os.truncate(path, 5_000_000)
        for _ in range(2):
            with pytest.raises(ModelFileError, match=r"has changed since it was loaded.*shrinking\.gguf"):
                answer(llm)
        shutil.copyfile(weights, path)
        assert answer(llm) == expected
        llm.unload()
        path.unlink()


PROGRAM = f"""
import json, sys
import studiolo as lm
try:
    with lm.Client("embedded") as client:
        llm = client.llm.model({MODEL!r}, config={SMALL!r})
        result = llm.complete("Once upon a time", config={{"temperature": 0, "max_tokens": 16}})
        print(json.dumps({{"text": result.content}}))
except lm.StudioloError as error:
    print(json.dumps({{"error": type(error).__name__, "message": str(error)}}))
"""


def run(home: Home, *before: str) -> dict[str, str]:
    """Run a small program on ``home``, with a command in front of it; returns what it prints."""
    others = workers_of(os.getpid())
    done = subprocess.run(
        [*before, sys.executable, "-c", PROGRAM],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert workers_of(os.getpid()) == others
    return json.loads(done.stdout.splitlines()[-1])


def without_privileges() -> list[str]:
    """Root reads everything; without these two capabilities it obeys permissions like anyone."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []


def test_a_full_disk(quick_home: Home, tmp_path: Path, weights: Path) -> None:
    """A home on a file system of 1 MB that is full: models run, and what cannot be written is done without."""
    home = Home(tmp_path / "small")
    home.root.mkdir()
    inside = f"""
mount -t tmpfs -o size=1m none {home.root} && mkdir -p {home.models}/a/b
ln -s {weights} {home.models}/a/b/SmolLM2-135M-Instruct.Q4_1.gguf
dd if=/dev/zero of={home.root}/ballast bs=1k count=2000 status=none
exec "$@"
"""
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    reported = run(home, "unshare", "--mount", *user, "sh", "-c", inside, "sh")
    usual = Home(tmp_path / "usual")
    usual.root.mkdir()
    link_models(quick_home, usual)
    assert reported == run(usual)


def test_a_model_that_may_not_be_read(home: Home, tmp_path: Path, weights: Path) -> None:
    copy = tmp_path / "own.gguf"
    shutil.copy(weights, copy)
    link = next(path for path in home.models.rglob("*.gguf") if path.resolve() == weights.resolve())
    link.unlink()
    link.symlink_to(copy)
    copy.chmod(0)
    reported = run(home, *without_privileges())
    assert reported["error"] == "ModelFileError"
    assert "Permission denied" in reported["message"]
    copy.chmod(0o600)
    assert "text" in run(home, *without_privileges())


def test_a_home_that_may_not_be_written_to(home: Home) -> None:
    """Logs and state are done without; the model runs."""
    home.state.unlink(missing_ok=True)
    expected = run(home)
    shutil.rmtree(home.logs)
    home.root.chmod(0o500)
    try:
        reported = run(home, *without_privileges())
    finally:
        home.root.chmod(0o700)
    assert reported == expected
