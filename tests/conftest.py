"""Fixtures for all tests: homes with the default model in them.

The default models are fetched once, by studiolo itself, into a folder that outlives the run:
``STUDIOLO_TEST_CACHE``, else ``~/.cache/studiolo-tests``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

import studiolo as lm
from studiolo.library import Library
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports import embedded
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.homes import DEFAULT_EMBEDDING_MODEL, DEFAULT_MODEL, link_models, new_home
from tests.support.llama_server_wheel import unpacked
from tests.support.model_cache import built_embedding_model, cache_folder, fetch, fetch_default_model, quick_models
from tests.support.recording import wire_recorder
from tests.support.running import Server, serving, started_by_tests, wait_until
from tests.support.typescript_clients import VERSIONS, installed
from tests.support.web import Web, go_nowhere_else
from tests.support.wire_schemas import Recording, judge, wire_schemas

# Tests that set no number of examples themselves: a few hundred, few with ``make check``, many with ``make fuzz``.
# Each run has the same examples: no change is blamed for what is older. Those of ``make fuzz`` are new ones each time.
hypothesis.settings.register_profile("check", max_examples=20, deadline=None, derandomize=True)
hypothesis.settings.register_profile("default", max_examples=200, deadline=None, derandomize=True)
hypothesis.settings.register_profile("fuzz", max_examples=10_000, deadline=None, database=None)
hypothesis.settings.load_profile("default")

WIRE = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


@pytest.fixture(scope="session")
def cache_home() -> Home:
    """A home with the default model. Shared by all tests and runs: read it, never write to it.

    Whatever a test downloads is kept below its root. A test that takes it, by whatever way, is marked ``model``.
    """
    home = Home(cache_folder())
    fetch_default_model(home)
    return home


@pytest.fixture(scope="session")
def quick_home(cache_home: Home) -> Home:
    """A home with two layers of the default model and its first tokens, by its name. Read it, link to it alone.

    What it says makes no sense, and it takes a fraction of the time.
    """
    return quick_models(cache_home)


@pytest.fixture(scope="module")
def model_home(request: pytest.FixtureRequest, cache_home: Home) -> Home:
    """The home whose models ``home``, ``place`` and ``server`` have: with the marker ``quick_model``, the quick one."""
    return quick_models(cache_home) if request.node.get_closest_marker("quick_model") else cache_home


@pytest.fixture(scope="session")
def embedding_home(cache_home: Home) -> Home:
    """A home with the default embedding model (768 dimensions) alone. Read it, link to it, never write to it."""
    home = Home(cache_home.root / "embedding")
    fetch(home, DEFAULT_EMBEDDING_MODEL)
    return home


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A fresh home without models, which is this process's default home for the length of the test.

    Its settings leave other programs' models out: a test must not depend on what else is installed.
    """
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.settings.write_text("[library]\nprograms = []\n")
    monkeypatch.setenv("STUDIOLO_HOME", str(home.root))
    monkeypatch.delenv("STUDIOLO_HOST", raising=False)
    return home


@pytest.fixture
def home(empty_home: Home, model_home: Home) -> Home:
    """A fresh home with the default model in it, which is loaded with a context of 2048.

    Of its own accord it is loaded with 8192: to clear the memory for that takes as long as the rest of the load.
    """
    with empty_home.settings.open("a") as settings:
        settings.write(f'[models."{DEFAULT_MODEL}"]\nload = {{ context_length = 2048 }}\n')
    link_models(model_home, empty_home)
    return empty_home


@pytest.fixture(scope="session")
def embedding_model(cache_home: Home) -> Path:
    """The GGUF file of an embedding model (384 dimensions). Read it, link to it (``link_model``), never write to it."""
    return built_embedding_model(cache_home)


@pytest.fixture(scope="session")
def reranking_model(cache_home: Home, embedding_model: Path) -> Path:
    """The GGUF file of a reranking model with random weights. Link to it (``link_model``), never write to it."""
    from tests.support.models.built import built
    from tests.support.models.reranker import write_reranker

    return built(cache_home.root, "tiny-reranker.F16.gguf", write_reranker, embedding_model)


@pytest.fixture(scope="session")
def vision_model(cache_home: Home, quick_home: Home) -> Path:
    """The GGUF file of a tiny vision model with random weights, its projector (``mmproj-`` and its name) beside it.

    It distinguishes two images, and its answers make no sense. Link to both with ``link_model``.
    """
    from tests.support.models.built import built
    from tests.support.models.vision import write_projector, write_text_model

    vocabulary = next(quick_home.models.rglob("SmolLM2*.gguf"))
    built(cache_home.root, "mmproj-tiny-vision.F16.gguf", write_projector)
    return built(cache_home.root, "tiny-vision.F16.gguf", write_text_model, vocabulary)


@pytest.fixture(scope="session")
def audio_model(cache_home: Home, quick_home: Home) -> Path:
    """The GGUF file of a tiny audio model with random weights, its projector (``mmproj-`` and its name) beside it.

    It distinguishes two tones, and its answers make no sense. Link to both with ``link_model``.
    """
    from tests.support.models.audio import write_audio_projector, write_audio_text_model
    from tests.support.models.built import built

    vocabulary = next(quick_home.models.rglob("SmolLM2*.gguf"))
    built(cache_home.root, "mmproj-tiny-audio.F16.gguf", write_audio_projector)
    return built(cache_home.root, "tiny-audio.F16.gguf", write_audio_text_model, vocabulary)


@pytest.fixture(scope="session")
def decision_model(cache_home: Home, vision_model: Path) -> Path:
    """The GGUF file of a tiny decision model with random weights, its projector beside it. Link to both."""
    from tests.support.models.built import built
    from tests.support.models.decision import write_decision_model
    from tests.support.models.vision import write_projector

    built(cache_home.root, "mmproj-tiny-decision.F16.gguf", write_projector)
    return built(cache_home.root, "tiny-decision.F16.gguf", write_decision_model, vision_model)


@pytest.fixture(scope="session")
def templated_model(cache_home: Home, quick_home: Home) -> Path:
    """The GGUF file of a tiny model with random weights and a chat template that is hard to please."""
    from tests.support.models.built import built
    from tests.support.models.templated import write_templated

    vocabulary = next(quick_home.models.rglob("SmolLM2*.gguf"))
    return built(cache_home.root, "tiny-templated.F16.gguf", write_templated, vocabulary)


@pytest.fixture(scope="session")
def binary(cache_home: Home) -> Path:
    """A real ``llama-server`` without llguidance."""
    return unpacked(cache_home.root)


@pytest.fixture(scope="module")
def transport(request: Any) -> str:
    """``embedded`` or ``served``; see ``pytest_generate_tests``."""
    return request.param


@pytest.fixture(scope="module")
def place(transport: str, model_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Where the host is, and the process that holds its workers: embedded and served, or served alone.

    A test of what the host and the engine do, which is the same in both, has the marker ``served``.
    """
    folder = tmp_path_factory.mktemp("sdk")
    home = new_home(folder, model_home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIOLO_HOME", str(home.root))
        patch.delenv("STUDIOLO_HOST", raising=False)
        if transport == "embedded":
            yield "embedded", os.getpid()
            background.run(close_hosts())
        else:
            with serving(home, folder, "--no-load") as server:
                yield server.address, server.pid


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, model_home: Home, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server in a process of its own, with the default model, for the tests of a module.

    A module says with ``pytestmark = pytest.mark.server(...)`` what else it needs: ``models`` (fixtures of model
    files), ``settings`` (text for ``config.toml``), ``environment``, ``load`` (whether the default model is loaded at
    its start) and ``sdk_port`` (whether it listens where clients look that have no address).
    """
    marker = request.node.get_closest_marker("server")
    options: dict[str, Any] = {**marker.kwargs} if marker else {}
    load = options.pop("load", False)
    sdk_port = options.pop("sdk_port", False)
    models = [request.getfixturevalue(name) for name in options.pop("models", [])]
    home = new_home(tmp_path_factory.mktemp("server"), model_home, *models)
    with home.settings.open("a") as settings:
        settings.write(options.pop("settings", ""))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.pop("environment", {}).items():
            patch.setenv(name, value)
        assert not options, f"the marker server has no {', '.join(options)}"
        with serving(home, home.root.parent, *([] if load else ["--no-load"]), sdk_port=sdk_port) as server:
            if load:
                wait_until(lambda: "is loaded" in server.said(), "the first model")
            yield server


@pytest.fixture
def client(place: tuple[str, int]) -> Iterator[lm.Client]:
    with lm.Client(place[0]) as client:
        yield client


@pytest.fixture
def llm(client: lm.Client) -> lm.LLM:
    return client.llm.model()


@pytest.fixture
async def library(empty_home: Home) -> AsyncIterator[Library]:
    """A library without models."""
    library = Library(empty_home)
    yield library
    await library.close()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A package index and a hub on this machine, which pip and the hub's client go to and to nothing else."""
    with Web() as web:
        go_nowhere_else(monkeypatch, web, tmp_path)
        yield web


@pytest.fixture(scope="module", params=VERSIONS)
def typescript_client(request: Any, cache_home: Home) -> Path:
    """A folder with the official npm package, in each version that is supported; see ``typescript_clients.run``."""
    return installed(request.param, cache_home.root)


def pytest_configure(config: pytest.Config) -> None:
    """Let every process of the run record what it sends to clients."""
    folder = Path(wire_recorder.__file__).parent
    config.stash[WIRE] = tempfile.TemporaryDirectory(prefix="studiolo-wire-")
    os.environ[wire_recorder.VARIABLE] = str(Path(config.stash[WIRE].name, "sent.jsonl"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    wire_recorder.install()
    # The tests start hundreds of programs. Each would compile its modules first, half a second's work.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if "PYTEST_XDIST_WORKER" in os.environ:
        # llama.cpp starts a thread a core, and they wait for each other in loops: with several engines at once that
        # takes half as much time again.
        os.environ.setdefault("OMP_THREAD_LIMIT", "1")


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[WIRE].cleanup()


@pytest.fixture(scope="session")
def recording() -> Recording:
    return Recording()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests that take ``place`` in both places, or in one."""
    if "transport" in metafunc.fixturenames:
        places = ["served"] if metafunc.definition.get_closest_marker("served") else ["embedded", "served"]
        metafunc.parametrize("transport", places, indirect=True, scope="module")


def pytest_collection() -> None:
    """Collect no garbage while tests are collected, and leave them out of it later: there are thousands of them."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a model or another download, and those that run pip or the hub's client.

    ``make check`` leaves both out.
    In several processes the longest files begin first, so that none is left to one process at the end.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "cache_home" in fixtures:
            item.add_marker("model")
        if "web" in fixtures:
            item.add_marker("web")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    file = item.nodeid.partition("::")[0]
    if file in ON_SDK_PORTS:
        return -1
    room = file.split("/")[1]
    return SLOWEST_FIRST.index(room) if room in SLOWEST_FIRST else len(SLOWEST_FIRST)


@pytest.fixture(scope="module", autouse=True)
def _what_was_sent_fits_the_official_clients(request: pytest.FixtureRequest, recording: Recording) -> Iterator[None]:
    """The first fixture of a module, so that its servers have stopped when it looks at what they sent.

    The schemas come with the official packages. A run without downloads judges nothing.
    """
    yield
    if (lines := recording.new_lines()) and any(item.get_closest_marker("model") for item in request.session.items):
        faults = judge(lines, wire_schemas(cache_folder()))
        assert not faults, "sent, and dropped by the official TypeScript client:\n" + "\n".join(faults)


@pytest.fixture(scope="session", autouse=True)
def _no_process_outlives_the_run() -> Iterator[None]:
    """Whatever the tests and their fixtures have started has ended with them. The first fixture of all, so the last."""
    yield
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not started_by_tests(), "all processes to end")
    left = {str(process): test for process, test in started_by_tests().items()}
    assert not left, f"processes that still run, and the tests that started them: {left}"


@pytest.fixture(scope="module", autouse=True)
def _hosts_end_with_their_module() -> Iterator[None]:
    """An embedded host outlives its clients; the next file's tests shall not find its engines."""
    yield
    if embedded._hosts:
        background.run(close_hosts())


if threading.current_thread() is threading.main_thread():
    # A process that a shell has put in the background ignores Ctrl-C, and so would the programs that tests start.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Under nohup, the tests stay when the terminal closes; the programs that they start do not inherit a function.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)

# Files whose tests serve on, or look at, the ports where clients without an address look. They run in one
# process, one after the other; the other files are spread over the processes.
ON_SDK_PORTS = {
    "tests/cli/test_cli.py",
    "tests/official/test_clients.py",
    "tests/sdk/test_programs.py",
    "tests/server/test_server.py",
}
SLOWEST_FIRST = [
    "reliability",
    "ui",
    "official",
    "sdk",
    "docs",
    "dialects",
    "engines",
    "server",
    "cli",
    "host",
    "library",
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Keep each file's tests in one process, for the sake of its fixtures."""

    config.option.loadscopereorder = False  # pytest_collection_modifyitems sets the order

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file.startswith("tests/ui/"):
                return "pages"  # one browser for all
            if file.startswith("tests/dialects/http/"):
                return "HTTP dialects"  # one server for all
            return "SDK ports" if file in ON_SDK_PORTS else file

    return ByFile(config, log)
