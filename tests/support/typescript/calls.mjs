// Each public method of the client, called once: node calls.mjs ADDRESS FILE
// The name of a check is the method that it calls, as the package declares it; tests/official/test_typescript.py
// demands that none is left out. Methods of an older or a newer version are skipped where the client lacks them.
import { Chat, LMStudioClient, rawFunctionTool } from "@lmstudio/sdk";
import assert from "node:assert";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { run } from "./checks.mjs";

// Some refusals reject a promise of the client's own as well, which nobody can catch.
process.on("unhandledRejection", () => {});
const [address, file] = process.argv.slice(2);
const logger = { info() {}, error() {}, warn() {}, debug() {} };
const connect = (to = address) =>
  new LMStudioClient({ baseUrl: `ws://${to}`, logger, verboseErrorMessages: false });
const client = connect();
const { repository, runtime, system, files, plugins } = client;
const KEY = "smollm2-135m-instruct";
const load = { verbose: false, config: { contextLength: 256 } };
const greedy = { temperature: 0, maxTokens: 4 };
const llm = await client.llm.load(KEY, { ...load, identifier: "calls" });
const [{ modelKey: EMBEDDING }] = await system.listDownloadedModels("embedding");
const embedding = await client.embedding.model(EMBEDDING, load);
const dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
// At once, and with words of the server's.
async function refused(call, pattern) {
  const start = Date.now();
  await assert.rejects(async () => { await call(); }, pattern);
  assert.ok(Date.now() - start < 30000, "it was refused late");
}
const search = async () => (await repository.searchModels({ searchTerm: "smollm2-135m" }))[0];
const option = async () => (await (await search()).getDownloadOptions())[0];
const planner = () => repository.createArtifactDownloadPlanner({ owner: "huggingfacetb", name: KEY });
const ready = async () => {
  const plan = planner();
  await plan.untilReady();
  return plan;
};
const engine = async () => {
  const [{ name, version }] = await runtime.engine.list();
  return { name, version };
};
const has = (object, ...names) => names.every(name => typeof object?.[name] === "function");
const only = (condition, checks) => condition ? checks : {};

const common = {
  async "LMStudioClient.[Symbol.asyncDispose]"() { await connect()[Symbol.asyncDispose](); },
  async "ModelNamespace.load"() {
    const model = await client.llm.load(KEY, { ...load, identifier: "calls-2" });
    assert.equal(model.identifier, "calls-2");
  },
  async "ModelNamespace.unload"() { await client.llm.unload("calls-2"); },
  async "ModelNamespace.listLoaded"() {
    assert.ok((await client.llm.listLoaded()).some(model => model.identifier === "calls"));
    assert.equal((await client.embedding.listLoaded()).length, 1);
  },
  async "ModelNamespace.model"() { assert.equal((await client.llm.model("calls")).identifier, "calls"); },
  async "ModelNamespace.createDynamicHandle"() {
    assert.equal((await client.llm.createDynamicHandle("calls").getModelInfo()).modelKey, KEY);
  },
  async "ModelNamespace.createDynamicHandleFromInstanceReference"() {
    const { instanceReference } = await llm.getModelInfo();
    const handle = client.llm.createDynamicHandleFromInstanceReference(instanceReference);
    assert.equal((await handle.getModelInfo()).identifier, "calls");
  },
  async "DynamicHandle.getModelInfo"() { assert.equal((await llm.getModelInfo()).identifier, "calls"); },
  async "LLM.getModelInfo"() { assert.equal((await llm.getModelInfo()).type, "llm"); },
  async "LLMDynamicHandle.complete"() {
    assert.equal((await llm.complete("1 2 3", greedy)).stats.predictedTokensCount, 4);
  },
  async "LLMDynamicHandle.respond"() { assert.ok((await llm.respond("Hello", greedy)).content); },
  async "LLMDynamicHandle.act"() {
    const nothing = rawFunctionTool({
      name: "nothing", description: "Does nothing", implementation: () => "",
      parametersJsonSchema: { type: "object", properties: {} },
    });
    assert.equal((await llm.act("Say hi.", [nothing], { ...greedy, maxTokens: 8 })).rounds, 1);
  },
  async "LLMDynamicHandle.getContextLength"() { assert.equal(await llm.getContextLength(), 256); },
  async "LLMDynamicHandle.applyPromptTemplate"() {
    assert.match(await llm.applyPromptTemplate(Chat.from("Hello")), /Hello/);
  },
  async "LLMDynamicHandle.tokenize"() { assert.deepEqual(await llm.tokenize("My name is"), [5965, 1462, 314]); },
  async "LLMDynamicHandle.countTokens"() { assert.equal(await llm.countTokens("My name is"), 3); },
  async "LLMDynamicHandle.unstable_preloadDraftModel"() {
    await refused(() => llm.unstable_preloadDraftModel("nonesuch"), /nonesuch/);
  },
  async "OngoingPrediction.result"() { assert.ok((await llm.complete("1 2 3", greedy).result()).content); },
  async "OngoingPrediction.cancel"() {
    const prediction = llm.complete("1 2 3", { temperature: 0, repeatPenalty: false, contextOverflowPolicy: "rollingWindow" });
    await prediction.cancel();
    assert.equal((await prediction.result()).stats.stopReason, "userStopped");
  },
  async "EmbeddingDynamicHandle.embed"() { assert.ok((await embedding.embed("a cat")).embedding.length > 100); },
  async "EmbeddingDynamicHandle.getContextLength"() { assert.equal(await embedding.getContextLength(), 256); },
  async "EmbeddingDynamicHandle.getEvalBatchSize"() { assert.ok(await embedding.getEvalBatchSize() > 0); },
  async "EmbeddingDynamicHandle.tokenize"() { assert.ok((await embedding.tokenize("a cat")).length >= 2); },
  async "EmbeddingDynamicHandle.countTokens"() { assert.ok(await embedding.countTokens("a cat") >= 2); },
  async "EmbeddingModel.getModelInfo"() { assert.equal((await embedding.getModelInfo()).type, "embedding"); },
  async "SystemNamespace.listDownloadedModels"() {
    const keys = (await system.listDownloadedModels()).map(model => model.modelKey);
    assert.deepEqual(keys.sort(), [EMBEDDING, KEY].sort());
  },
  async "SystemNamespace.whenDisconnected"() {
    const [host, port] = address.split(":");
    const open = [];
    const between = net.createServer(near => {
      const far = net.connect(Number(port), host);
      open.push(near, far);
      for (const socket of [near, far]) { socket.on("error", () => {}); }
      near.pipe(far).pipe(near);
    });
    await new Promise(resolve => between.listen(0, "127.0.0.1", resolve));
    const other = connect(`127.0.0.1:${between.address().port}`);
    await other.system.getLMStudioVersion();
    const gone = other.system.whenDisconnected();
    assert.equal(await Promise.race([gone, new Promise(resolve => setTimeout(resolve, 200, "there"))]), "there");
    for (const socket of open) { socket.destroy(); }
    await gone;
    between.close();
  },
  async "SystemNamespace.notify"() { await system.notify({ title: "Hello", description: "there" }); },
  async "SystemNamespace.getLMStudioVersion"() { assert.match((await system.getLMStudioVersion()).version, /^\d/); },
  async "SystemNamespace.unstable_getExperimentFlags"() {
    assert.deepEqual(await system.unstable_getExperimentFlags(), []);
  },
  async "SystemNamespace.unstable_setExperimentFlag"() {
    await system.unstable_setExperimentFlag("x", false);
    await refused(() => system.unstable_setExperimentFlag("x", true), /no experiment flag 'x'/);
  },
  async "SystemNamespace.startHttpServer"() {
    await refused(() => system.startHttpServer({ port: 5555, cors: false }), /studiolo server start/);
  },
  async "SystemNamespace.stopHttpServer"() { await refused(() => system.stopHttpServer(), /studiolo server stop/); },
  async "FilesNamespace.prepareImage"() {
    const picture = `${file}.png`;
    writeFileSync(picture, Buffer.from(dot, "base64"));
    assert.equal((await files.prepareImage(picture)).type, "image");
  },
  async "FilesNamespace.prepareImageBase64"() {
    assert.equal((await files.prepareImageBase64("dot.png", dot)).type, "image");
  },
  async "FilesNamespace.prepareFile"() { assert.equal((await files.prepareFile(file)).type, "text/plain"); },
  async "FilesNamespace.prepareFileBase64"() {
    assert.equal((await files.prepareFileBase64("a.txt", "YWJj")).type, "text/plain");
  },
  async "FileHandle.getFilePath"() {
    assert.match(readFileSync(await (await files.prepareFile(file)).getFilePath(), "utf8"), /cat/);
  },
  async "FileHandle.isImage"() { assert.ok((await files.prepareImageBase64("dot.png", dot)).isImage()); },
  async "FilesNamespace.retrieve"() {
    const { entries } = await files.retrieve("cat", [await files.prepareFile(file)], { embeddingModel: embedding });
    assert.ok(entries.length > 0);
  },
  async "FilesNamespace.parseDocument"() {
    assert.match((await files.parseDocument(await files.prepareFile(file))).content, /cat/);
  },
  async "FilesNamespace.getDocumentParsingLibrary"() {
    assert.ok((await files.getDocumentParsingLibrary(await files.prepareFile(file))).library);
  },
  async "RepositoryNamespace.searchModels"() { assert.ok((await repository.searchModels({})).length > 0); },
  async "ModelSearchResultEntry.getDownloadOptions"() { assert.ok(await option()); },
  async "ModelSearchResultEntry.isExactMatch"() { assert.equal(typeof (await search()).isExactMatch(), "boolean"); },
  async "ModelSearchResultEntry.isStaffPick"() { assert.equal(typeof (await search()).isStaffPick(), "boolean"); },
  async "ModelSearchResultDownloadOption.isRecommended"() {
    assert.equal(typeof (await option()).isRecommended(), "boolean");
  },
  async "ModelSearchResultDownloadOption.download"() { assert.equal(await (await option()).download(), KEY); },
  async "RepositoryNamespace.installPluginDependencies"() {
    await refused(() => repository.installPluginDependencies("/nowhere"), /studiolo has no/);
  },
  async "RepositoryNamespace.downloadArtifact"() {
    const artifact = { owner: "a", name: "b", revisionNumber: 1, path: "/nowhere" };
    await refused(() => repository.downloadArtifact(artifact), /studiolo has no/);
  },
  async "RepositoryNamespace.pushArtifact"() {
    await refused(() => repository.pushArtifact({ path: "/nowhere" }), /studiolo has no/);
  },
  async "RepositoryNamespace.getLocalArtifactFileList"() {
    await refused(() => repository.getLocalArtifactFileList("/nowhere"), /studiolo has no/);
  },
  async "RepositoryNamespace.ensureAuthenticated"() {
    const asked = { onAuthenticationUrl() {}, onAuthenticationCode() {} };
    await refused(() => repository.ensureAuthenticated(asked), /studiolo has no/);
  },
  async "RepositoryNamespace.loginWithPreAuthenticatedKeys"() {
    const keys = { keyId: "a", publicKey: "b", privateKey: "c" };
    await refused(() => repository.loginWithPreAuthenticatedKeys(keys), /studiolo has no/);
  },
  async "RepositoryNamespace.createArtifactDownloadPlanner"() {
    const plan = repository.createArtifactDownloadPlanner({ owner: "a", name: "b" });
    await refused(() => plan.untilReady(), /a\/b/);
  },
  async "DiagnosticsNamespace.unstable_streamLogs"() { client.diagnostics.unstable_streamLogs(() => {})(); },
  async "PluginsNamespace.reindexPlugins"() { await plugins.reindexPlugins(); },
  async "PluginsNamespace.pluginTools"() { await refused(() => plugins.pluginTools("owner/name"), /runs no plugins/); },
  async "PluginsNamespace.createGeneratorHandle"() {
    await refused(() => plugins.createGeneratorHandle("owner/name").respond("Hello").result(), /runs no plugins/);
  },
  async "PluginsNamespace.getSelfRegistrationHost"() {
    await refused(() => plugins.getSelfRegistrationHost().initCompleted(), /runs no plugins/);
  },
  async "ArtifactDownloadPlanner.untilReady"() { await (await ready()).untilReady(); },
  async "ArtifactDownloadPlanner.isReady"() { assert.ok((await ready()).isReady()); },
  async "ArtifactDownloadPlanner.getPlan"() { assert.ok((await ready()).getPlan().nodes.length > 0); },
  async "ArtifactDownloadPlanner.download"() { await (await ready()).download({}); },
  async "ArtifactDownloadPlanner.[Symbol.dispose]"() { (await ready())[Symbol.dispose](); },
};

const newer = {
  ...only(has(client.llm, "estimateResourcesUsage"), {
    async "ModelNamespace.estimateResourcesUsage"() {
      const { memory, passesGuardrails } = await client.llm.estimateResourcesUsage(KEY, { contextLength: 256 });
      assert.ok(memory.totalBytes > 2 ** 26 && passesGuardrails);
    },
    async "ModelNamespace.createDomainSpecificModelFromInstanceReference"() {
      const { instanceReference } = await llm.getModelInfo();
      const model = await client.llm.createDomainSpecificModelFromInstanceReference(instanceReference);
      assert.equal(model.identifier, "calls");
    },
    async "DynamicHandle.getInstanceProcessingState"() {
      assert.deepEqual(await llm.getInstanceProcessingState(), { status: "idle", queued: 0 });
    },
    async "LLMDynamicHandle.getLoadConfig"() { assert.equal((await llm.getLoadConfig()).contextLength, 256); },
    async "LLMDynamicHandle.getBasePredictionConfig"() {
      assert.equal(typeof await llm.getBasePredictionConfig(), "object");
    },
    async "EmbeddingDynamicHandle.getLoadConfig"() {
      assert.equal((await embedding.getLoadConfig()).contextLength, 256);
    },
    async "SystemNamespace.listDownloadedModelVariants"() {
      await refused(() => system.listDownloadedModelVariants(KEY), /smollm2-135m-instruct/);
    },
    async "SystemNamespace.getInfo"() { assert.equal(typeof await system.getInfo(), "object"); },
    async "RepositoryNamespace.isAuthenticated"() { assert.equal(await repository.isAuthenticated(), false); },
    async "RepositoryNamespace.getAuthenticationStatus"() {
      assert.deepEqual(await repository.getAuthenticationStatus(), { type: "none" });
    },
    async "RepositoryNamespace.deauthenticate"() { await repository.deauthenticate(); },
    async "RepositoryNamespace.loginAsComputeDevice"() {
      await refused(() => repository.loginAsComputeDevice("token"), /studiolo has no/);
    },
    async "RepositoryNamespace.installLocalPlugin"() {
      await refused(() => repository.installLocalPlugin({ path: "/nowhere", pluginPath: "/nowhere" }), /studiolo has no/);
    },
    async "RepositoryNamespace.createModelDownloadPlanner"() {
      const source = { type: "huggingface", user: "a", repo: "b" };
      await assert.rejects(repository.createModelDownloadPlanner({ source }).untilReady(), /a\/b|offline/i);
    },
    async "ArtifactDownloadPlanner.selectModelDownloadOption"() {
      await (await ready()).selectModelDownloadOption({ nodeIndex: 1, downloadOptionIndex: 0 });
    },
    async "ArtifactDownloadPlanner.selectAlreadyOwnedModel"() {
      await (await ready()).selectAlreadyOwnedModel({ nodeIndex: 1 });
    },
    async "UnstableRepositoryNamespace.getModelCatalog"() {
      assert.ok((await repository.unstable.getModelCatalog()).length > 0);
    },
    async "UnstableRepositoryNamespace.getWritableArtifactOwners"() {
      assert.deepEqual(await repository.unstable.getWritableArtifactOwners(), []);
    },
    async "UnstableRepositoryNamespace.fuzzyFindStaffPicks"() {
      assert.ok((await repository.unstable.fuzzyFindStaffPicks({ searchTerm: "smollm2" })).length > 0);
    },
    async "RepositoryLMLinkNamespace.status"() {
      assert.equal((await repository.lmLink.status()).status, "offline");
    },
    async "RepositoryLMLinkNamespace.setDisabled"() {
      await repository.lmLink.setDisabled(true);
      await refused(() => repository.lmLink.setDisabled(false), /studiolo has no/);
    },
    async "RepositoryLMLinkNamespace.updateDeviceName"() {
      await refused(() => repository.lmLink.updateDeviceName("x"), /studiolo has no/);
    },
    async "RepositoryLMLinkNamespace.setPreferredDevice"() {
      await refused(() => repository.lmLink.setPreferredDevice("x"), /studiolo has no/);
    },
    async "RuntimeEngineNamespace.list"() { assert.equal((await engine()).name, "llama.cpp"); },
    async "RuntimeEngineNamespace.getSelections"() {
      assert.deepEqual([...await runtime.engine.getSelections()], [["GGUF", await engine()]]);
    },
    async "RuntimeEngineNamespace.select"() { await runtime.engine.select(await engine(), "GGUF"); },
    async "RuntimeEngineNamespace.remove"() { 
      const specifier = await engine();
      await refused(() => runtime.engine.remove(specifier), /pip/);
    },
    async "RuntimeExtensionsNamespace.search"() { assert.deepEqual(await runtime.extensions.search("x"), []); },
    async "RuntimeExtensionsNamespace.download"() {
      await refused(() => runtime.extensions.download({ name: "x", version: "1" }, {}), /pip/);
    },
    async "RuntimeNamespace.surveyHardware"() { assert.equal((await runtime.surveyHardware()).status, "ok"); },
  }),
};

const last = {
  async "PluginsNamespace.registerDevelopmentPlugin"() {
    // The client does not look at the refusal of its channel, and waits.
    const manifest = { type: "plugin", runner: "node", owner: "owner", name: "name", revision: 1 };
    plugins.registerDevelopmentPlugin({ manifest });
    const channel = plugins.port.createChannel("registerDevelopmentPlugin", { manifest }, () => {});
    const error = await new Promise(resolve => channel.onError.subscribeOnce(resolve));
    assert.match(String(error), /runs no plugins/);
  },
  async "LLM.unload"() { await llm.unload(); },
  async "EmbeddingModel.unload"() { await embedding.unload(); },
  ...only(has(system, "requestShutdown"), {
    async "SystemNamespace.requestShutdown"() {
      await refused(() => system.requestShutdown(), /studiolo server stop/);
    },
  }),
};

await run({ ...common, ...newer, ...last });
