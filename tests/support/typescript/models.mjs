// Models, embeddings, and the rest of the client's namespaces: node models.mjs ADDRESS
import { LMStudioClient } from "@lmstudio/sdk";
import assert from "node:assert";
import { run } from "./checks.mjs";

const client = new LMStudioClient({ baseUrl: `ws://${process.argv[2]}`, verboseErrorMessages: false });
const KEY = "smollm2-135m-instruct";
const quiet = { verbose: false };
const small = { contextLength: 256 };

await run({
  async load_with_progress() {
    const progress = [];
    const model = await client.llm.load(KEY, {
      ...quiet, identifier: "one", config: small, ttl: 600, onProgress: part => progress.push(part),
    });
    assert.equal(progress.at(-1), 1);
    assert.deepEqual(progress, [...progress].sort((a, b) => a - b));
    assert.equal(model.identifier, "one");
    assert.equal(model.modelKey, KEY);
    assert.equal(await model.getContextLength(), 256);
    const { fields } = await (model.getLoadKVConfig ?? model.getLoadConfig).call(model);  // the name since 2.0.0
    assert.equal(fields.find(({ key }) => key === "llm.load.contextLength").value, 256);
    const info = await model.getModelInfo();
    assert.equal(info.identifier, "one");
    assert.equal(info.contextLength, 256);
    assert.equal(info.trainedForToolUse, false);
    assert.equal(info.vision, false);
  },
  async a_name_that_is_taken_is_refused() {
    await assert.rejects(client.llm.load(KEY, { ...quiet, identifier: "one", config: small }), /one/);
  },
  async model_gives_the_one_that_is_loaded() {
    assert.equal((await client.llm.model("one", quiet)).identifier, "one");
    assert.equal((await client.llm.model()).modelKey, KEY);
  },
  async a_model_under_an_identifier_of_its_own_is_found_by_its_key() {
    const key = "text-embedding-all-minilm-l6-v2";
    const mine = await client.embedding.load(key, { ...quiet, identifier: "mine" });
    for (const name of [key, "all-minilm-l6-v2"]) {
      assert.equal((await client.embedding.model(name, { ...quiet, config: small })).identifier, "mine");
    }
    assert.equal((await client.embedding.listLoaded()).length, 1);
    await mine.unload();
  },
  async listing() {
    assert.ok((await client.llm.listLoaded()).some(model => model.identifier === "one"));
    const downloaded = await client.system.listDownloadedModels();
    assert.ok(downloaded.some(model => model.modelKey === KEY && model.type === "llm"));
    assert.ok(downloaded.some(model => model.type === "embedding"));
    assert.ok((await client.system.listDownloadedModels("llm")).every(model => model.type === "llm"));
    assert.ok((await client.system.listDownloadedModels("embedding")).every(model => model.type === "embedding"));
  },
  async text_to_tokens() {
    const model = client.llm.createDynamicHandle("one");
    assert.deepEqual(await model.tokenize("My name is"), [5965, 1462, 314]);
    assert.deepEqual(await model.tokenize(["My name is", "My"]), [[5965, 1462, 314], [5965]]);
    assert.equal(await model.countTokens("My name is"), 3);
  },
  async dynamic_handles_by_query() {
    const model = client.llm.createDynamicHandle({ identifier: "one" });
    assert.equal((await model.complete("My name is", { maxTokens: 2 })).stats.predictedTokensCount, 2);
  },
  async unload() {
    await client.llm.unload("one");
    assert.ok((await client.llm.listLoaded()).every(model => model.identifier !== "one"));
    await assert.rejects(client.llm.unload("one"), /one/);
  },
  async embeddings() {
    const { modelKey } = (await client.system.listDownloadedModels("embedding"))[0];
    const model = await client.embedding.model(modelKey, quiet);
    const one = await model.embed("a cat");
    assert.equal(one.embedding.length, 384);
    const many = await model.embed(["a cat", "a car"]);
    assert.equal(many.length, 2);
    assert.ok(Math.abs(many[0].embedding[0] - one.embedding[0]) < 1e-3);
    assert.ok(await model.getContextLength() > 0);
    assert.ok(await model.getEvalBatchSize() > 0);
    assert.ok(await model.countTokens("a cat") >= 2);
    assert.ok((await model.tokenize(["a cat", "a"])).length === 2);
    assert.equal((await model.getModelInfo()).type, "embedding");
    assert.deepEqual((await client.embedding.listLoaded()).map(each => each.identifier), [model.identifier]);
    await model.unload();
    assert.deepEqual(await client.embedding.listLoaded(), []);
    await assert.rejects(client.embedding.model(KEY, quiet), /wrong domain/);
  },
  async system() {
    assert.match((await client.system.getLMStudioVersion()).version, /^\d+\.\d+\.\d+/);
    await client.system.notify({ title: "hello", description: "there", noAutoDismiss: false });
  },
  async repository() {
    const [found] = await client.repository.searchModels({ searchTerm: "smollm2-135m" });
    assert.match(found.name.toLowerCase(), /smollm2-135m/);
    const options = await found.getDownloadOptions();
    assert.ok(options.length > 0 && options.some(option => option.isRecommended()));
    assert.ok(options.every(option => option.name && option.sizeBytes > 0), JSON.stringify(options));
  },
  async logs() {
    const logs = [];
    const stop = client.diagnostics.unstable_streamLogs(log => {
      if (log.data.type === "llm.prediction.input") { logs.push(log); }
    });
    const model = await client.llm.model(KEY, { ...quiet, config: small });
    for (let left = 50; left > 0 && logs.length === 0; left--) {
      await model.complete("My name is", { maxTokens: 1 });
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    stop();
    assert.equal(logs[0].data.input, "My name is");
  },
  async images_by_base64() {
    const dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    const image = await client.files.prepareImageBase64("dot.png", dot);
    assert.equal(image.type, "image");
    assert.equal(image.name, "dot.png");
    const model = await client.llm.model(KEY, quiet);
    const chat = [{ role: "user", content: "What is it?", images: [image] }];
    await assert.rejects(async () => { await model.respond(chat, { maxTokens: 4 }); }, /vision/);
  },
});
