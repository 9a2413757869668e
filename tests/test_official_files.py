"""The official TypeScript client's files, diagnostics, system and plugins, unmodified, against our server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studiolo.paths import Home

from .running import Server, link_model, serving
from .test_official_clients import run_typescript, typescript_client  # noqa: F401 (the last is a fixture)


@pytest.fixture(scope="module")
def served(embedding_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("files")
    home = Home(folder / "home")
    home.root.mkdir()
    link_model(embedding_model, home)
    with serving(home, folder, "--no-load") as server:
        yield server


TYPESCRIPT = """
import assert from "node:assert";
import { LMStudioClient } from "@lmstudio/sdk";
const logger = { info() {}, error() {}, warn() {}, debug() {} };
const client = new LMStudioClient({ baseUrl: process.argv[2], logger });
const content = Buffer.from("The central bank raised its interest rate.\\n").toString("base64");
const file = await client.files.prepareFileBase64("ts.txt", content);
assert.equal((await client.files.getDocumentParsingLibrary(file)).library, "studiolo");
assert.match((await client.files.parseDocument(file)).content, /interest/);
const embeddingModel = await client.embedding.model("all-minilm-l6-v2");
assert.equal((await embeddingModel.embed("text")).embedding.length, 384);
assert.equal((await embeddingModel.embed(["a", "b"])).length, 2);
assert.ok((await embeddingModel.countTokens("some text")) > 1);
assert.ok((await embeddingModel.getContextLength()) <= 512);
const searched = [];
const found = await client.files.retrieve("monetary policy", [file], {
  embeddingModel, limit: 2, onSearchingEnd: () => searched.push(true),
});
assert.equal(found.entries.length, 1);
assert.equal(found.entries[0].source.name, "ts.txt");
assert.deepEqual(searched, [true]);

assert.match((await client.system.getLMStudioVersion()).version, /^\\d+\\./);
assert.deepEqual(await client.system.unstable_getExperimentFlags(), []);
await client.system.notify({ title: "Hello", description: "from the\\nclient" });
await assert.rejects(client.system.unstable_setExperimentFlag("x", true), /experiment flag/);
await assert.rejects(client.system.startHttpServer({ port: 5555, cors: false }), /HTTP server/);
const stop = client.diagnostics.unstable_streamLogs(() => {});
stop();
assert.deepEqual((await client.system.listDownloadedModels("embedding")).map(m => m.modelKey), ["all-minilm-l6-v2"]);
const info = await embeddingModel.getModelInfo();
assert.equal(info.type, "embedding");
await embeddingModel.unload();
console.log("all good");
process.exit(0);
"""


def test_the_official_typescript_client(served: Server, typescript_client: Path) -> None:  # noqa: F811
    assert "all good" in run_typescript(TYPESCRIPT, typescript_client, "documents.mjs", f"ws://{served.address}")
    assert "says: Hello: from the client" in served.said()
