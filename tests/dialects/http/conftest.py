"""One server for all tests of the HTTP dialects in a process: engines are what takes the time."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import httpx._transports.default as httpx_transport
import httpx2._transports.default as httpx2_transport
import pytest
import studiolo_fake_engine as fake

from studiolo.dialects.http import generation
from studiolo.paths import Home
from tests.support.fake_host import SETTINGS as FAKE_ENGINE
from tests.support.fake_models import add_model
from tests.support.homes import SHORT_VALUES, link_model, link_models, new_home
from tests.support.http_server import SENSIBLE, VALUES, ServerInThread, serving_in_thread
from tests.support.models.built import built
from tests.support.models.thinking import write_thinking
from tests.support.running import PATIENCE_SEC, Server, free_port, serving, wait_until

# Each client of httpx, and of httpx2 in those of OpenAI and Anthropic, would read all certificates of the system, which
# takes 30 ms. One context serves them all.
for transport in (httpx_transport, httpx2_transport):
    transport.create_ssl_context = functools.cache(transport.create_ssl_context)

# Their own limit is 5 s, which a busy machine may need.
for part in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, part, PATIENCE_SEC)

SETTINGS = """
[loading]
auto_evict = false

[server.aliases]
"an-alias" = "smollm2-135m-instruct"
"qwen2-audio-7b-instruct" = "tiny-audio"

[server]
fetch_urls = "any"
mcp_urls = "any"
"""

HEARING_SETTINGS = """
[models."tiny-audio"]
load = { context_length = 2048, max_parallel_predictions = 1 }
prediction = { max_tokens = 8 }
"""
"""The model's answers have no end of their own."""

FORBIDDEN = ", ".join(f'[{token}, "-inf"]' for token in range(17) if token not in (4, 6))
"""Tokens that the model which reasons would end its answers with at once: its weights do not know the tags."""

THINKING_SETTINGS = f"""
[models."quick-thinking"]
load = {{ context_length = 1024 }}
prediction = {{ logit_bias = [{FORBIDDEN}] }}
"""

VALUES_SETTINGS = f"""
[models."{VALUES}"]
load = {{ context_length = 2048 }}
prediction = {{ logit_bias = {SHORT_VALUES} }}
"""

THINKING_MODEL = "quick-thinking.Q4_1.gguf"


@pytest.fixture(scope="session")
def http_server(
    cache_home: Home,
    quick_home: Home,
    embedding_home: Home,
    vision_model: Path,
    audio_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A real server with LLMs (quick, with values that end, whole, reasoning, seeing, hearing) and an embedding model.

    They are loaded on demand. Shared by all tests in this folder: leave them loaded, and use another one to kill
    engines or change settings.
    """
    folder = tmp_path_factory.mktemp("http")
    home = new_home(folder, quick_home)
    link_models(embedding_home, home)
    whole, quick = (next(source.models.rglob("SmolLM2*.gguf")) for source in (cache_home, quick_home))
    for name, model in ((SENSIBLE, whole), (VALUES, quick)):
        link = home.models / "tests" / name / f"{name}.Q4_1.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(model)
    link_model(built(cache_home.root, THINKING_MODEL, write_thinking, quick), home)
    link_model(vision_model, home)
    link_model(audio_model, home)
    with home.settings.open("a") as settings:
        settings.write(SETTINGS + HEARING_SETTINGS + THINKING_SETTINGS + VALUES_SETTINGS)
    with serving(home, folder, "--no-load") as server:
        yield server


@pytest.fixture(scope="session")
def base_url(http_server: Server) -> str:
    """The server's address, such as ``http://127.0.0.1:1234``."""
    return f"http://{http_server.address}"


@pytest.fixture
def http(base_url: str) -> Iterator[httpx.Client]:
    """A plain client of the server."""
    with httpx.Client(base_url=base_url, timeout=60) as client:
        yield client


@pytest.fixture
def fake_server(empty_home: Home) -> Iterator[ServerInThread]:
    """A server on the fake engine, with the LLMs ``alpha`` and ``beta`` and the embedding model ``vectors``."""
    for name in ("alpha", "beta"):
        add_model(empty_home, name)
    add_model(empty_home, "vectors", architecture="bert")
    empty_home.settings.write_text(FAKE_ENGINE)
    fake.reset()
    with serving_in_thread() as server:
        yield server
    assert fake.running() == []
    fake.reset()


@pytest.fixture(scope="session")
def mcp_url() -> Iterator[str]:
    """The address of an MCP server."""
    port = free_port()
    program = Path(__file__).parents[2] / "support" / "mcp_server.py"
    process = subprocess.Popen(
        [sys.executable, str(program), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, "the MCP server to listen")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream begins late: what is refused before a load is refused by its status, however busy the machine is."""
    monkeypatch.setattr(generation, "UNLOADED_PATIENCE_SEC", PATIENCE_SEC)
