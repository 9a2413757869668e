"""The official TypeScript client's files, diagnostics, system and plugins, unmodified, against our server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.document_files import docx, much_unpacked, pdf
from tests.support.official_clients import run_typescript
from tests.support.running import Server

pytestmark = [pytest.mark.quick_model, pytest.mark.server(models=["embedding_model"])]


BEGIN = """
import assert from "node:assert";
import { LMStudioClient } from "@lmstudio/sdk";
const logger = { info() {}, error() {}, warn() {}, debug() {} };
const [address, ...paths] = process.argv.slice(2);
const client = new LMStudioClient({ baseUrl: `ws://${address}`, logger, verboseErrorMessages: false });
"""

END = """
console.log("all good");
process.exit(0);
"""

FILES = """
const [notes, pets, letter, bomb] = await Promise.all(paths.map(path => client.files.prepareFile(path)));
assert.deepEqual([notes, pets, letter].map(f => f.type), ["text/plain", "application/pdf", "application/word"]);
const library = async file => (await client.files.getDocumentParsingLibrary(file)).library;
assert.deepEqual(await Promise.all([notes, pets, letter].map(library)), ["studiolo", "pypdf", "python-docx"]);

const progress = [];
const loaded = [];
const onProgress = share => progress.push(share);
const parsed = await client.files.parseDocument(pets, { onProgress, onParserLoaded: p => loaded.push(p) });
assert.equal(parsed.content, "Cats purr.\\n\\nDogs bark.");
assert.equal(parsed.parser.library, "pypdf");
assert.deepEqual(progress, [0, 0.5, 1]);
assert.deepEqual(loaded, [parsed.parser]);
const parserId = { library: "pypdf", version: parsed.parser.version };
assert.equal((await client.files.parseDocument(pets, { parserId })).content, parsed.content);
await assert.rejects(client.files.parseDocument(notes, { parserId }), /read with studiolo, not with pypdf/);
assert.match((await client.files.parseDocument(letter)).content, /A paragraph of Word/);
await assert.rejects(client.files.parseDocument(bomb), /too large when it is unpacked/);
const base64 = Buffer.from("<h1>Title</h1><p>text").toString("base64");
const page = await client.files.prepareFileBase64("a.html", base64);
assert.equal((await client.files.parseDocument(page)).content, "Title\\ntext");
const aborted = new AbortController();
const reading = client.files.parseDocument(pets, { signal: aborted.signal });
aborted.abort(new Error("no more"));
await assert.rejects(reading, /no more/);

const embeddingModel = await client.embedding.model("all-minilm-l6-v2", { verbose: false });
const reported = [];
const found = await client.files.retrieve("monetary policy", [notes, pets], {
  embeddingModel, limit: 2, chunkingMethod: { type: "recursive-v1", chunkSize: 80, chunkOverlap: 0 },
  onFileProcessList: files => reported.push(files.map(file => file.name)),
  onFileProcessingStart: (file, index, files) => reported.push(["start", file.name, index, files.length]),
  onFileProcessingStepStart: (file, step) => reported.push(["step", file.name, step]),
  onFileProcessingStepProgress: (file, step, progress) => assert.ok(progress >= 0 && progress <= 1),
  onFileProcessingStepEnd: (file, step) => reported.push(["stepped", file.name, step]),
  onFileProcessingEnd: (file, index, files) => reported.push(["end", file.name, index, files.length]),
  onSearchingStart: () => reported.push("search"),
  onSearchingEnd: () => reported.push("searched"),
});
assert.equal(found.entries.length, 2);
assert.match(found.entries[0].content, /interest rate/);
assert.equal(found.entries[0].source, notes);
assert.ok(found.entries[0].score > found.entries[1].score);
const steps = (name, index) => [
  ["start", name, index, 2],
  ...["loading", "chunking", "embedding"].flatMap(step => [["step", name, step], ["stepped", name, step]]),
  ["end", name, index, 2],
];
assert.deepEqual(reported, [
  ["notes.txt", "pets.pdf"], ...steps("notes.txt", 0), ...steps("pets.pdf", 1), "search", "searched",
]);
const databasePath = "/tmp/somewhere";
await assert.rejects(client.files.retrieve("x", [notes], { embeddingModel, databasePath }), /database path/);
const stop = new AbortController();
const searching = client.files.retrieve("x", [pets], { embeddingModel, signal: stop.signal });
stop.abort(new Error("enough"));
await assert.rejects(searching, /enough/);
await embeddingModel.unload();
"""

SYSTEM = """
const { version, build } = await client.system.getLMStudioVersion();
assert.match(version, /^\\d+\\.\\d+\\.\\d+/);
assert.equal(typeof build, "number");
await client.system.notify({ title: "Hello", description: "from the\\nclient", noAutoDismiss: true });
assert.deepEqual(await client.system.unstable_getExperimentFlags(), []);
await client.system.unstable_setExperimentFlag("x", false);
await assert.rejects(client.system.unstable_setExperimentFlag("x", true), /no experiment flag 'x'/);
await assert.rejects(client.system.startHttpServer({ port: 5555, cors: false }), /studiolo server start/);
await assert.rejects(client.system.stopHttpServer(), /studiolo server stop/);

const llm = await client.llm.model("smollm2-135m-instruct", { verbose: false });
const logs = [];
const stop = client.diagnostics.unstable_streamLogs(event => {
  if (event.data.type === "llm.prediction.input") logs.push(event);
});
while (logs.length < 2) {  // the channel may open after the first predictions
  await llm.complete("My name is", { maxTokens: 1 });
  await llm.respond("Hello", { maxTokens: 1 });
}
stop();
const { timestamp, data } = logs.find(log => log.data.input === "My name is");
assert.ok(Math.abs(Date.now() - timestamp) < 600_000);
assert.equal(data.modelIdentifier, "smollm2-135m-instruct");
assert.match(data.modelPath, /SmolLM2.*gguf$/);
assert.ok(logs.some(log => /^<.im_start.>[^]*Hello/.test(log.data.input)));

await client.plugins.reindexPlugins();
const refused = /runs no plugins/;
await assert.rejects(client.plugins.pluginTools("owner/name"), refused);
await assert.rejects(client.plugins.createGeneratorHandle("owner/name").respond("Hello").result(), refused);
const registering = client.plugins.getSelfRegistrationHost();
await assert.rejects(registering.initCompleted(), refused);
await llm.unload();
"""

RUNTIME = """
const socket = new WebSocket(`ws://${address}/runtime`);
const frames = [];
let wake = () => {};
socket.onmessage = event => { frames.push(JSON.parse(event.data)); wake(); };
const next = async () => {
  while (frames.length === 0) await new Promise(resolve => { wake = resolve; });
  return frames.shift();
};
await new Promise(resolve => { socket.onopen = resolve; });
socket.send(JSON.stringify({ authVersion: 1, clientIdentifier: "runtime", clientPasskey: "x" }));
assert.deepEqual(await next(), { success: true });
let callId = 0;
const call = async (endpoint, parameter) => {
  socket.send(JSON.stringify({ type: "rpcCall", endpoint, callId: ++callId, parameter }));
  const frame = await next();
  assert.equal(frame.callId, callId);
  if (frame.type === "rpcError") throw new Error(`${frame.error.title} ${frame.error.suggestion}`);
  return frame.result;
};
const [engine, ...others] = await call("listEngines");
assert.deepEqual(others, []);
assert.equal(engine.name, "llama.cpp");
assert.match(engine.version, /^\\d/);
assert.deepEqual(engine.supportedModelFormatNames, ["GGUF"]);
const specifier = { name: engine.name, version: engine.version };
assert.deepEqual(await call("getEngineSelections"), { json: [["GGUF", specifier]], meta: { values: ["map"] } });
await call("selectEngine", { engine: specifier, modelFormatName: "GGUF" });
const other = { engine: { ...specifier, version: "0" }, modelFormatName: "GGUF" };
await assert.rejects(call("selectEngine", other), /config.toml/);
await assert.rejects(call("removeEngine", specifier), /pip/);
assert.deepEqual(await call("searchRuntimeExtensions", { query: "", includeIncompatible: true }), { extensions: [] });
const survey = await call("surveyHardware", { type: "all" });
assert.equal(survey.status, "ok");
const { hardwareSurvey, memoryInfo, compatibility } = survey.engines[0];
assert.equal(compatibility.status, "compatible");
assert.ok(["x86_64", "ARM64"].includes(hardwareSurvey.cpuSurveyResult.cpuInfo.architecture));
assert.equal(hardwareSurvey.cpuSurveyResult.result.code, "success");
const gpus = hardwareSurvey.gpuSurveyResult;
assert.equal(gpus.result.code, gpus.gpuInfo.length ? "success" : "noDevicesFound");
assert.ok(memoryInfo.ramCapacity > 2 ** 28 && memoryInfo.totalMemory >= memoryInfo.ramCapacity);
assert.equal((await call("surveyHardware")).engines.length, 1);
assert.deepEqual(await call("surveyHardware", { type: "custom", engines: [] }), {
  status: "noCompatibleBackends", engines: [],
});
"""


def run(program: str, folder: Path, name: str, *arguments: str) -> None:
    assert "all good" in run_typescript(BEGIN + program + END, folder, name, *arguments)


def test_files(server: Server, typescript_client: Path, tmp_path: Path) -> None:
    version = typescript_client.name.encode()  # what was embedded for one version is kept, and is not embedded again
    contents = {
        "notes.txt": b"Bees make honey.\n\nThe central bank raised its interest rate.\n\n%s\n" % version,
        "pets.pdf": pdf(["Cats purr.", "Dogs bark."]) + b"%%" + version,
        "letter.docx": docx(),
        "bomb.docx": much_unpacked(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    run(FILES, typescript_client, "files.mjs", server.address, *(str(tmp_path / name) for name in contents))


def test_system_diagnostics_and_plugins(server: Server, typescript_client: Path) -> None:
    before = server.said().count(": Hello: from the client")
    run(SYSTEM, typescript_client, "system.mjs", server.address)
    assert server.said().count(": Hello: from the client") == before + 1


def test_the_runtime_namespace(server: Server, typescript_client: Path) -> None:
    run(RUNTIME, typescript_client, "runtime.mjs", server.address)
