from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from studiolo.library import Library
from tests.support.web import Web


@pytest.fixture
def hub(web: Web) -> Web:
    for name in ("gemma-3-1b-it-GGUF", "gemma-3-4b-it-GGUF", "other"):
        web.add_file(f"someone/{name}", "model-Q4_K_M.gguf", b"GGUF")
    web.gated = {"someone/gemma-3-4b-it-GGUF"}
    return web


async def test_the_catalog_and_the_hub_are_searched(library: Library, hub: Web) -> None:
    results = await library.search("gemma")
    assert results.note is None
    assert [(hit.identifier, hit.source) for hit in results.hits] == [
        ("gemma-3-270m", "catalog"),
        ("someone/gemma-3-1b-it-GGUF", "hub"),
        ("someone/gemma-3-4b-it-GGUF", "hub"),
    ]
    assert [hit.gated for hit in results.hits] == [False, False, True]
    assert results.hits[1].downloads == 1234 and results.hits[0].size_bytes
    assert [hit.identifier for hit in (await library.search("gemma", 2)).hits] == [
        "gemma-3-270m",
        "someone/gemma-3-1b-it-GGUF",
    ]
    assert (await library.search("google/gemma-3-270m")).hits[0].exact
    assert (await library.search("no such thing")).hits == []


async def test_a_hub_that_is_out_of_reach_is_noted(library: Library, hub: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fail("/api/models", status=418)
    results = await library.search("gemma")
    assert [hit.identifier for hit in results.hits] == ["gemma-3-270m"]
    assert results.note is not None and "HTTP 418" in results.note
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in str((await library.search("gemma")).note)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in str((await library.search("gemma")).note)


async def test_a_busy_hub_is_asked_again(library: Library, hub: Web) -> None:
    hub.fail("/api/models", status=503)
    hub.fail("/api/models", status=429, headers={"Retry-After": "1"})
    assert len((await library.search("gemma")).hits) == 3


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studiolo", *words]
    environment = {**os.environ, "STUDIOLO_HOST": "embedded"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_on_the_command_line(library: Library, hub: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run("search", "gemma").stdout.splitlines()
    assert lines[0].split() == ["MODEL", "SOURCE", "SIZE", "DOWNLOADS", "ABOUT"]
    assert lines[1].split()[:3] == ["gemma-3-270m", "catalog", "253"]
    assert lines[3].endswith("(gated)")
    hits = json.loads(run("search", "gemma", "--json", "--limit", "2").stdout)
    assert [hit["identifier"] for hit in hits] == ["gemma-3-270m", "someone/gemma-3-1b-it-GGUF"]
    assert "nothing was found for 'xyzzy'" in run("search", "xyzzy").stderr
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = run("search", "gemma", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 1
    assert "Only the catalog was searched: the hub at http://127.0.0.1:9 cannot be reached" in done.stderr
