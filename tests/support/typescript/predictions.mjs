// Predictions with the official client: node predictions.mjs ADDRESS [CHECK...]
import { Chat, LMStudioClient, rawFunctionTool, tool, unimplementedRawFunctionTool } from "@lmstudio/sdk";
import assert from "node:assert";
import { z } from "zod";
import { run } from "./checks.mjs";

const client = new LMStudioClient({ baseUrl: `ws://${process.argv[2]}`, verboseErrorMessages: false });
const llm = await client.llm.model("smollm2-135m-instruct", { verbose: false });
const greedy = { temperature: 0, maxTokens: 12 };
const story = "Once upon a time";
const count = "1 2 3 4 5 6 7";
const endless = { temperature: 0, repeatPenalty: false, contextOverflowPolicy: "rollingWindow" };
const text = async (prompt, config) => (await llm.complete(prompt, config)).content;
const refused = async (pattern, call) => assert.rejects(async () => { await call(); }, pattern);
const adding = implementation => tool({
  name: "add", description: "Adds two numbers", parameters: { a: z.number(), b: z.number() }, implementation,
});
// The first call is required, so that the small model makes it.
const acting = { ...greedy, maxTokens: 96, toolChoice: undefined };

await run({
  async temperature_0_repeats() {
    assert.equal(await text(story, greedy), await text(story, greedy));
  },
  async stop_strings() {
    const full = await text(count, greedy);
    const stop = full.slice(5, 8);
    const result = await llm.complete(count, { ...greedy, stopStrings: [stop] });
    assert.equal(result.content, full.slice(0, full.indexOf(stop)));
    assert.equal(result.stats.stopReason, "stopStringFound");
  },
  async max_tokens() {
    const result = await llm.complete(story, { ...greedy, maxTokens: 3 });
    assert.equal(result.stats.stopReason, "maxPredictedTokensReached");
    assert.equal(result.stats.predictedTokensCount, 3);
    assert.equal(result.stats.promptTokensCount, 4);
    assert.equal(result.stats.totalTokensCount, 7);
  },
  async sampling_down_to_one_token() {
    const wanted = await text(story, { ...greedy, repeatPenalty: false });
    const hot = { temperature: 1.9, maxTokens: 12, repeatPenalty: false, topPSampling: false, minPSampling: false };
    assert.equal(await text(story, { ...hot, topKSampling: 1 }), wanted);
    assert.equal(await text(story, { ...hot, topKSampling: 0, topPSampling: 0.001 }), wanted);
    assert.equal(await text(story, { ...hot, topKSampling: 0, minPSampling: 1 }), wanted);
  },
  async repeat_penalty() {
    const free = await text(count, { ...greedy, repeatPenalty: false });
    assert.notEqual(await text(count, { ...greedy, repeatPenalty: 1.9 }), free);
  },
  async log_probabilities() {
    const fragments = [];
    const result = await llm.complete(story, {
      ...greedy, maxTokens: 3, logProbs: 2, onPredictionFragment: fragment => fragments.push(fragment),
    });
    assert.equal(result.stats.predictedTokensCount, 3);
  },
  async context_overflow_policies() {
    const small = await client.llm.load("smollm2-135m-instruct", {
      identifier: "small-ts", config: { contextLength: 64 }, verbose: false,
    });
    const on = { temperature: 0, repeatPenalty: false };
    const stopped = await small.complete(count, { ...on, contextOverflowPolicy: "stopAtLimit" });
    assert.equal(stopped.stats.stopReason, "contextLengthReached");
    const rolled = await small.complete(count, { ...on, maxTokens: 90, contextOverflowPolicy: "rollingWindow" });
    assert.equal(rolled.stats.predictedTokensCount, 90);
    await small.unload();
  },
  async callbacks_in_order() {
    const seen = [];
    const result = await llm.respond("Say hi.", {
      ...greedy,
      onPromptProcessingProgress: progress => seen.push(`progress ${progress === 1 ? 1 : "some"}`),
      onFirstToken: () => seen.push("first"),
      onPredictionFragment: fragment => seen.push(`fragment ${fragment.tokensCount >= 0}`),
      onMessage: message => seen.push(`message ${message.getRole()} ${message.getText().length > 0}`),
    });
    const kinds = [...new Set(seen)];
    assert.deepEqual(kinds, ["progress some", "progress 1", "first", "fragment true", "message assistant true"]);
    assert.equal(result.modelInfo.modelKey, "smollm2-135m-instruct");
    assert.equal(result.roundIndex, 0);
  },
  async cancel_keeps_what_was_said() {
    const prediction = llm.complete(count, endless);
    let said = "";
    for await (const { content } of prediction) {
      said += content;
      if (said.length > 5) { await prediction.cancel(); break; }
    }
    const result = await prediction.result();
    assert.equal(result.stats.stopReason, "userStopped");
    assert.ok(result.content.startsWith(said), result.content);
  },
  async abort_signal_of_a_prediction() {
    const controller = new AbortController();
    const prediction = llm.complete(count, { ...endless, signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    assert.equal((await prediction.result()).stats.stopReason, "userStopped");
  },
  async abort_signal_of_a_load() {
    const controller = new AbortController();
    const loading = client.llm.load("smollm2-135m-instruct", {
      identifier: "aborted-ts", signal: controller.signal, verbose: false,
    });
    controller.abort(new Error("no more"));
    await assert.rejects(loading);
    for (let left = 100; left > 0; left--) {
      if ((await client.llm.listLoaded()).every(model => model.identifier !== "aborted-ts")) { return; }
      await new Promise(resolve => setTimeout(resolve, 100));
    }
    assert.fail("the aborted load is still there");
  },
  async structured_with_zod() {
    const schema = z.object({ title: z.string().max(10), year: z.number().int().min(1900).max(2030) });
    const result = await llm.respond("Name a book.", { ...greedy, maxTokens: 80, structured: schema });
    assert.equal(typeof result.parsed.title, "string");
    assert.ok(result.parsed.year >= 1900);
    assert.deepEqual(JSON.parse(result.content), result.parsed);
  },
  async structured_with_a_json_schema() {
    const jsonSchema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] };
    const result = await llm.respond("Well?", { ...greedy, maxTokens: 40, structured: { type: "json", jsonSchema } });
    assert.equal(typeof JSON.parse(result.content).ok, "boolean");
  },
  async structured_with_a_grammar() {
    const structured = { type: "gbnf", gbnfGrammar: 'root ::= "yes" | "no"' };
    assert.match((await llm.respond("Well?", { ...greedy, structured })).content, /^(yes|no)$/);
  },
  async chats() {
    const chat = Chat.from([{ role: "system", content: "Be terse." }, { role: "user", content: "Hi" }]);
    const copy = chat.asMutableCopy();
    copy.append("assistant", "Hello");
    copy.append("user", "Who are you?");
    assert.equal(chat.getLength(), 2);
    assert.equal(copy.getLength(), 4);
    const prompt = await llm.applyPromptTemplate(copy);
    assert.ok(prompt.includes("Hello") && prompt.endsWith("assistant\n"), prompt);
    assert.equal((await llm.respond(copy, greedy)).content, await text(prompt, greedy));
    assert.equal((await llm.respond(Chat.from("Hi"), greedy)).content, (await llm.respond("Hi", greedy)).content);
    const bare = await llm.applyPromptTemplate("Hi", { omitBosToken: true, omitEosToken: true });
    assert.ok(bare.includes("Hi"));
  },
  async prompt_template_of_ones_own() {
    const promptTemplate = {
      type: "manual", stopStrings: [],
      manualPromptTemplate: { beforeSystem: "S:", afterSystem: "\n", beforeUser: "U:", afterUser: "\n",
        beforeAssistant: "A:", afterAssistant: "\n" },
    };
    const result = await llm.respond("Hi", { ...greedy, promptTemplate });
    assert.equal(result.content, await text("U:Hi\nA:", greedy));
  },
  async act_without_tools_called() {
    const seen = [];
    const result = await llm.act("Say hi.", [], {
      ...greedy,
      onRoundStart: round => seen.push(`start ${round}`),
      onFirstToken: round => seen.push(`first ${round}`),
      onPredictionCompleted: prediction => seen.push(`completed ${prediction.roundIndex}`),
      onMessage: message => seen.push(message.getRole()),
      onRoundEnd: round => seen.push(`end ${round}`),
    });
    assert.equal(result.rounds, 1);
    assert.deepEqual(seen, ["start 0", "first 0", "completed 0", "assistant", "end 0"]);
  },
  async act_refuses_to_run_on() {
    await refused(/./, () => llm.act("hi", [adding(({ a, b }) => a + b)], { ...greedy, maxPredictionRounds: 0 }));
  },
  async tools_of_each_kind_are_sent_to_the_model() {
    const raw = rawFunctionTool({
      name: "echo", description: "Echoes", implementation: params => params,
      parametersJsonSchema: { type: "object", properties: { what: { type: "string" } } },
    });
    const none = unimplementedRawFunctionTool({
      name: "nothing", description: "Does nothing", parametersJsonSchema: { type: "object", properties: {} },
    });
    const result = await llm.act("Say hi.", [adding(({ a, b }) => a + b), raw, none], { ...greedy });
    assert.ok(result.rounds >= 1);
  },
  async errors_name_what_was_wrong() {
    await refused(/nonesuch/, () => client.llm.model("nonesuch", { verbose: false }));
    await refused(/nonesuch/, () => client.llm.createDynamicHandle("nonesuch").complete("hi"));
    await refused(/nonesuch/, () => client.llm.unload("nonesuch"));
    await refused(/temperature/, () => llm.complete("hi", { temperature: -1 }));
    await refused(/nonesuch/, () => llm.complete("hi", { ...greedy, preset: "nonesuch" }));
  },
  async draft_models() {
    const key = "smollm2-135m-instruct";
    const load = { identifier: "drafted-ts", config: { contextLength: 256 }, verbose: false };
    const model = await client.llm.load(key, load);
    const plain = await model.complete(story, greedy);
    assert.equal(plain.stats.usedDraftModelKey, undefined);
    const drafted = await model.complete(story, { ...greedy, draftModel: key });
    assert.equal(drafted.content, plain.content);
    assert.equal(drafted.stats.usedDraftModelKey, key);
    assert.ok(drafted.stats.acceptedDraftTokensCount > 0);
    await model.unload();
  },
  async draft_models_that_do_not_fit_are_refused_by_name() {
    const [{ modelKey }] = await client.system.listDownloadedModels("embedding");
    await refused(/nonesuch/, () => llm.complete("hi", { ...greedy, draftModel: "nonesuch" }));
    await refused(new RegExp(modelKey), () => llm.complete("hi", { ...greedy, draftModel: modelKey }));
    assert.ok(await text("hi", greedy) !== undefined);
  },
  async preloading_a_draft_model() {
    const model = await client.llm.load("smollm2-135m-instruct", {
      identifier: "preloaded-ts", config: { contextLength: 256 }, verbose: false,
    });
    await model.unstable_preloadDraftModel("smollm2-135m-instruct");
    assert.equal((await model.complete(story, greedy)).stats.usedDraftModelKey, "smollm2-135m-instruct");
    await refused(/nonesuch/, () => model.unstable_preloadDraftModel("nonesuch"));
    await model.unload();
  },
}, 40, process.argv.slice(3));  // a check makes up to four predictions, and one of them loads a model
