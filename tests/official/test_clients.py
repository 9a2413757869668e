"""The official clients, unmodified, against our server: they find it by themselves, where they look."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from studiolo.paths import Home
from studiolo.sdk.discovery import SDK_PORTS
from tests.support.founding_programs import CLIENT, CONVENIENCE
from tests.support.homes import SHORTER_ANSWERS, link_model, new_home
from tests.support.official_clients import run_python, run_typescript
from tests.support.running import Server, serving

THE_REST = """
import lmstudio as lm
with lm.Client() as client:
    llm = client.llm.model("smollm2-135m-instruct")
    assert [model.model_key for model in client.list_downloaded_models()] == ["smollm2-135m-instruct"]
    assert [model.identifier for model in client.llm.list_loaded()] == ["smollm2-135m-instruct"]
    assert client.embedding.list_loaded() == []
    result = llm.complete("My name is", config={"maxTokens": 4, "temperature": 0, "topKSampling": 3})
    assert result.stats.stop_reason == "maxPredictedTokensReached", result.stats
    assert result.stats.predicted_tokens_count == 4
    assert result.prediction_config.max_tokens == 4
    assert result.load_config.context_length == 256
    assert result.model_info.model_key == "smollm2-135m-instruct"
    progress, first, fragments = [], [], []
    stream = llm.complete_stream(
        "1 2 3 4 5 6 7",
        config={"temperature": 0, "maxTokens": 1_000_000, "contextOverflowPolicy": "rollingWindow"},
        on_first_token=lambda: first.append(1),
        on_prediction_fragment=fragments.append,
        on_prompt_processing_progress=progress.append,
    )
    for number, fragment in enumerate(stream):
        if number == 3:
            stream.cancel()
    assert stream.result().stats.stop_reason == "userStopped", stream.result().stats
    assert first == [1] and len(fragments) == 4 and progress[0] == 0.0 and progress[-1] == 1.0
    loading = []
    other = client.llm.load_new_instance(
        "smollm2-135m-instruct", "other", config={"contextLength": 256}, on_load_progress=loading.append, ttl=60
    )
    assert loading[-1] == 1.0
    assert other.get_context_length() == 256
    assert other.get_load_config().context_length == 256
    assert other.get_info().identifier == "other"
    assert other.tokenize("My name is") == [5965, 1462, 314] and other.count_tokens("My name is") == 3
    other.unload()
    for call in (lambda: client.llm.model("nonesuch"), lambda: other.get_info(), lambda: client.llm.unload("other")):
        try:
            call()
        except lm.LMStudioModelNotFoundError as error:
            assert "nonesuch" in str(error) or "other" in str(error)
        else:
            raise AssertionError("no error")
    chat = lm.Chat("You are terse.")
    chat.add_user_message("What is the capital of France?")
    prompt = llm.apply_prompt_template(chat)
    assert prompt == (
        "<|im_start|>system\\nYou are terse.<|im_end|>\\n<|im_start|>user\\nWhat is the capital of France?<|im_end|>\\n"
        "<|im_start|>assistant\\n"
    ), prompt
    greedy = {"temperature": 0, "maxTokens": 12}
    messages = []
    answer = llm.respond(chat, config=greedy, on_message=messages.append)
    assert answer.content == llm.complete(prompt, config=greedy).content
    assert messages[0].content[0].text == answer.content
    assert "".join(f.content for f in llm.respond_stream(chat, config=greedy)) == answer.content
    chat.add_assistant_response(answer)
    chat.add_user_message("And of Italy?")
    assert llm.respond(chat, config=greedy).content
    words = {"enabled": True, "startString": answer.content[3:6], "endString": answer.content[8:10]}
    stream = llm.respond_stream(
        "What is the capital of France?", config={**greedy, "reasoningParsing": words}
    )
    assert {f.reasoning_type for f in stream} <= {"none", "reasoning", "reasoningStartTag", "reasoningEndTag"}
    template = {"type": "jinja", "stopStrings": [], "jinjaPromptTemplate": {"template": "{{ raise_exception('no') }}"}}
    try:
        llm.respond("hi", config={"promptTemplate": template})
    except lm.LMStudioServerError as error:
        assert "template" in str(error) and "no" in str(error), error
    else:
        raise AssertionError("no error")
    try:
        llm.respond("hi", preset="nonesuch")
    except lm.LMStudioPresetNotFoundError as error:
        assert "nonesuch" in str(error), error
    else:
        raise AssertionError("no error")
print("all good")
"""

IMAGES = """
import sys
import lmstudio as lm
from pathlib import Path
with lm.Client() as client:
    red, blue = (client.files.prepare_image(Path(path)) for path in sys.argv[1:])
    assert red.file_type == "image" and red.name == "red.png"
    llm = client.llm.model("tiny-vision")
    assert llm.get_info().vision
    answers = []
    for image in (red, red, blue):
        chat = lm.Chat()
        chat.add_user_message("What is this?", images=[image])
        answers.append(llm.respond(chat, config={"temperature": 0, "maxTokens": 8}).content)
    assert answers[0] == answers[1] != answers[2], answers
    llm.unload()
    try:
        client.llm.model("smollm2-135m-instruct").respond(chat)
    except lm.LMStudioServerError as error:
        assert "blue.png" in str(error) and "vision" in str(error), error
    else:
        raise AssertionError("no error")
    try:
        client.files.prepare_image(b"GIF89a" + bytes(20), "a.gif")
    except lm.LMStudioServerError as error:
        assert "GIF" in str(error), error
    else:
        raise AssertionError("no error")
print("all good")
"""

TYPESCRIPT_IMAGES = """
import { LMStudioClient } from "@lmstudio/sdk";
import assert from "node:assert";
const client = new LMStudioClient({ verboseErrorMessages: false });
const [red, blue] = await Promise.all(process.argv.slice(2).map(path => client.files.prepareImage(path)));
const llm = await client.llm.model("tiny-vision", { verbose: false });
const see = async image => (await llm.respond(
  [{ role: "user", content: "What is this?", images: [image] }], { temperature: 0, maxTokens: 8 })).content;
const answers = [await see(red), await see(red), await see(blue)];
assert.equal(answers[0], answers[1]);
assert.notEqual(answers[0], answers[2]);
await llm.unload();
console.log("all good");
process.exit(0);
"""

ASYNC_CLIENT = """
import asyncio
import lmstudio

async def main():
    async with lmstudio.AsyncClient() as client:
        llm = await client.llm.model()
        stream = await llm.complete_stream("My name is", config={"maxTokens": 5})
        fragments = [fragment.content async for fragment in stream]
        assert "".join(fragments) == stream.result().content
        stream = await llm.respond_stream("Say hi.", config={"maxTokens": 5})
        fragments = [fragment.content async for fragment in stream]
        assert "".join(fragments) == stream.result().content != ""
        assert "Say hi." in await llm.apply_prompt_template("Say hi.")
        print("all good")

asyncio.run(main())
"""

TYPESCRIPT = """
import { LMStudioClient } from "@lmstudio/sdk";
const client = new LMStudioClient();
const llm = await client.llm.model();
const prediction = llm.complete("My name is");
for await (const { content } of prediction) { process.stdout.write(content); }
"""

TYPESCRIPT_REST = """
import { Chat, LMStudioClient } from "@lmstudio/sdk";
import assert from "node:assert";
const client = new LMStudioClient({ verboseErrorMessages: false });
const llm = await client.llm.model("smollm2-135m-instruct");
const result = await llm.complete("My name is", { maxTokens: 4, temperature: 0, stopStrings: ["zzz"] });
assert.equal(result.stats.stopReason, "maxPredictedTokensReached");
assert.equal(result.stats.predictedTokensCount, 4);
const greedy = { temperature: 0, maxTokens: 12 };
const chat = Chat.from([
  { role: "system", content: "You are terse." }, { role: "user", content: "What is the capital of France?" },
]);
const prompt = await llm.applyPromptTemplate(chat);
assert.ok(prompt.startsWith("<|im_start|>system\\nYou are terse.<|im_end|>"), prompt);
assert.ok(prompt.endsWith("assistant\\n"), prompt);
const answer = await llm.respond(chat, greedy);
assert.equal(answer.content, (await llm.complete(prompt, greedy)).content);
assert.equal(answer.nonReasoningContent, answer.content);
chat.append("assistant", answer.content);
chat.append("user", "And of Italy?");
const turn = llm.respond(chat, { ...greedy, reasoningParsing: { enabled: true, startString: "a", endString: "e" } });
const kinds = new Set();
for await (const { reasoningType } of turn) { kinds.add(reasoningType); }
assert.ok(kinds.has("reasoningStartTag"), [...kinds].join());
const endless = { temperature: 0, repeatPenalty: false, maxTokens: 1_000_000, contextOverflowPolicy: "rollingWindow" };
const cancelled = llm.complete("1 2 3 4 5 6 7", endless);
let fragments = 0;
for await (const fragment of cancelled) { if (++fragments === 3) await cancelled.cancel(); }
assert.equal((await cancelled.result()).stats.stopReason, "userStopped");
const onDisk = (await client.system.listDownloadedModels()).map(m => m.modelKey);
assert.ok(onDisk.includes("smollm2-135m-instruct"), onDisk.join());
const options = { identifier: "other-ts", config: { contextLength: 256 }, verbose: false };
const other = await client.llm.load("smollm2-135m-instruct", options);
assert.equal(await other.getContextLength(), 256);
assert.deepEqual(await other.tokenize("My name is"), [5965, 1462, 314]);
assert.equal(await other.countTokens("My name is"), 3);
assert.deepEqual((await client.llm.listLoaded()).map(m => m.identifier).sort(), ["other-ts", "smollm2-135m-instruct"]);
await other.unload();
await assert.rejects(() => client.llm.model("nonesuch", { verbose: false }));
assert.equal((await client.system.getLMStudioVersion()).version.split(".").length, 3);
console.log("all good");
process.exit(0);
"""


@pytest.fixture(scope="module")
def server_home(quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = new_home(tmp_path_factory.mktemp("official"), quick_home)
    with home.settings.open("a") as settings:
        settings.write(SHORTER_ANSWERS)
    return home


@pytest.fixture(scope="module")
def server(server_home: Home) -> Iterator[Server]:
    # As the README starts it: a model is being loaded meanwhile.
    for _ in range(10):
        with serving(server_home, server_home.root.parent, sdk_port=True) as server:
            if server.sdk_port == SDK_PORTS[0]:
                yield server
                return
        time.sleep(2)  # the port is one that the system also gives to connections
    pytest.fail("another server holds the port where the official clients look first")


@pytest.mark.parametrize("program", [CONVENIENCE, CLIENT])
def test_the_founding_programs_with_the_official_python_client(program: str, server: Server, empty_home: Home) -> None:
    assert len(run_python(program, empty_home)) > 10


@pytest.mark.parametrize("program", [THE_REST, ASYNC_CLIENT])
def test_more_of_the_official_python_client(program: str, server: Server, empty_home: Home) -> None:
    assert "all good" in run_python(program, empty_home)


def test_our_client_runs_the_same_programs_there(server: Server, empty_home: Home) -> None:
    program = THE_REST.replace("import lmstudio as lm", "import studiolo as lm")
    program = program.replace("lm.LMStudioServerError as error", "lm.ConfigError as error")
    assert "all good" in run_python(program, empty_home)


@pytest.mark.timeout(400)
def test_the_founding_program_with_the_official_typescript_client(server: Server, typescript_client: Path) -> None:
    assert run_typescript(TYPESCRIPT, typescript_client, "founding.mjs").strip()


def test_more_of_the_official_typescript_client(server: Server, typescript_client: Path) -> None:
    assert "all good" in run_typescript(TYPESCRIPT_REST, typescript_client, "rest.mjs")


@pytest.fixture
def pictures(server: Server, server_home: Home, vision_model: Path, tmp_path: Path) -> list[str]:
    """Two files with pictures; the server has a model that sees them."""
    if not any(server_home.models.rglob(vision_model.name)):
        link_model(vision_model, server_home)
    paths = [tmp_path / f"{colour}.png" for colour in ("red", "blue")]
    for path in paths:
        Image.new("RGB", (100, 60), path.stem).save(path)
    return [str(path) for path in paths]


def test_images_with_the_official_python_client(pictures: list[str], empty_home: Home) -> None:
    assert "all good" in run_python(IMAGES, empty_home, *pictures)


def test_images_with_the_official_typescript_client(pictures: list[str], typescript_client: Path) -> None:
    assert "all good" in run_typescript(TYPESCRIPT_IMAGES, typescript_client, "images.mjs", *pictures)
