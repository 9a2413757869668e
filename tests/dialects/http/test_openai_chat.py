"""Chat completions with the official client and a real model: every answer and frame has the official type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from jsonschema import validate
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import studiolo as lm
from tests.support.http_server import LLM, SENSIBLE, VALUES

HELLO = [{"role": "user", "content": "Say hello."}]


def tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "description": "The weather.", "parameters": parameters}}


TOOLS = [tool("a"), tool("b")]


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


def whole(http: httpx.Client, **body: Any) -> ChatCompletion:
    """The whole answer, checked."""
    settings = {"model": LLM, "messages": HELLO, "max_tokens": 12, "temperature": 0}
    answer = http.post("/v1/chat/completions", json={**settings, **body})
    assert answer.status_code == 200, answer.text
    return ChatCompletion.model_validate_json(answer.text, strict=True)


def frames(http: httpx.Client, **body: Any) -> tuple[list[ChatCompletionChunk], list[str]]:
    """The frames of a stream, checked, and their text."""
    settings = {"model": LLM, "messages": HELLO, "max_tokens": 12, "temperature": 0, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json={**settings, **body}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        texts = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert texts.pop() == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(text, strict=True) for text in texts], texts


def refusal(http: httpx.Client, status: int = 400, **body: Any) -> dict[str, Any]:
    """The error that a request gets, whole and streamed."""
    settings = {"model": LLM, "messages": HELLO, "max_tokens": 5}
    errors: list[Any] = []
    for stream in (False, True):
        answer = http.post("/v1/chat/completions", json={**settings, "stream": stream, **body})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        errors.append(answer.json()["error"])
    assert errors[0] == errors[1] and errors[0].keys() == {"message", "type", "param", "code"}
    return errors[0]


def test_the_text_of_a_stream_is_that_of_the_whole_answer(http: httpx.Client) -> None:
    asked = [{"role": "user", "content": "Write an emoji of a cat 🐈 and of a dog 🐕, then repeat both."}]
    chunks, texts = frames(http, messages=asked, max_tokens=30)
    assert not any("\ufffd" in text for text in texts)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole(http, messages=asked, max_tokens=30).choices[0].message.content


def test_the_frames_of_a_stream_belong_together(http: httpx.Client) -> None:
    chunks, texts = frames(http)
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    raw = [json.loads(text)["choices"][0] for text in texts]
    assert raw[0]["delta"] == {"role": "assistant", "content": ""}
    assert all(choice["finish_reason"] is None for choice in raw[:-1])
    assert all("role" not in choice["delta"] and choice["delta"]["content"] for choice in raw[1:-1])
    assert raw[-1]["delta"] == {} and raw[-1]["finish_reason"] == "length"
    assert all("usage" not in json.loads(text) for text in texts)


def test_the_usage_comes_last_where_it_is_asked_for(http: httpx.Client) -> None:
    _, texts = frames(http, stream_options={"include_usage": True})
    found = [json.loads(text) for text in texts]
    assert found[-1]["choices"] == [] and all(frame["usage"] is None for frame in found[:-1])
    usage, same = found[-1]["usage"], json.loads(whole(http).model_dump_json())["usage"]
    for member in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[member] == same[member] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_null_is_absent_and_minus_one_no_limit(http: httpx.Client) -> None:
    names = ("seed", "stop", "tools", "tool_choice", "response_format", "logprobs", "n", "user", "stream_options")
    nulls: dict[str, Any] = dict.fromkeys(names)
    assert whole(http, **nulls).choices[0].message.content == whole(http).choices[0].message.content
    ended = whole(http, model=SENSIBLE, messages=[{"role": "user", "content": "Say hi."}], max_tokens=-1).choices[0]
    assert ended.finish_reason == "stop"
    assert refusal(http, max_tokens=0)["param"] == "max_tokens"
    assert refusal(http, max_tokens=-2)["param"] == "max_tokens"


NO_AUDIO = {"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}
WRONG = [
    ({"messages": {"messages": []}}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [*HELLO, {"role": "boss", "content": "x"}]}, "messages.1.role"),
    ({"messages": [{"role": "user"}]}, "messages.0"),
    ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages.0.content.0"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 3}, "temperature"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema"),
    ({"messages": [{"role": "user", "content": [NO_AUDIO]}]}, "messages.0.content.0"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias.99999999"),
    ({"stop": ["", "x"]}, "stop.0"),
    ({"n": 0}, "n"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    ({"num_ctx": 4096}, "num_ctx"),
    ({"reasoning_effort": "high"}, "reasoning_effort"),
    ({"tool_choice": {"type": "function", "function": {"name": "zzz"}}, "tools": TOOLS}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "any", "tools": TOOLS}, "tool_choice"),
    ({"tools": [tool("a"), tool("a")]}, "tools.1"),
    ({"tools": [{"type": "function"}]}, "tools.0.function"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.custom"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/no"}}}},
        "response_format",
    ),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=[str(param) for _, param in WRONG])
def test_a_wrong_field_is_refused_by_its_path(http: httpx.Client, body: dict[str, Any], param: str | None) -> None:
    error = refusal(http, **body)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert "Error" not in error["message"] and "`" not in error["message"]
    assert error["message"].count("content") < 2, "the place is said once"


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b'"text"', b"\xff", b"[" * 5000])
def test_a_body_that_is_no_object_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["no-such-model", "smollm2", "/etc/passwd", "", None])
def test_an_unknown_model_is_an_error_while_another_is_loaded(http: httpx.Client, model: str | None) -> None:
    whole(http, max_tokens=1)
    error = refusal(http, 400 if not model else 404, model=model)
    assert error["param"] == "model" and error["code"] == ("model_not_found" if model else None)
    assert not model or model in error["message"]


def test_an_alias_is_a_model(http: httpx.Client) -> None:
    assert whole(http, model="an-alias", max_tokens=2).model == "an-alias"


def test_an_embedding_model_does_not_chat(http: httpx.Client) -> None:
    assert refusal(http, model="text-embedding-nomic-embed-text-v1.5")["param"] == "model"


def test_a_prompt_that_does_not_fit_is_refused_before_the_stream(http: httpx.Client) -> None:
    error = refusal(http, messages=[{"role": "user", "content": "word " * 9000}])
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "8192" in error["message"] and "90" in error["message"]


def test_a_field_that_nobody_knows_is_ignored_and_named(http: httpx.Client) -> None:
    body = {"model": LLM, "messages": HELLO, "max_tokens": 1, "wibble": 1, "stream_options": {"wobble": 2}}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["studiolo-ignored-fields"] == "wibble, stream_options.wobble"
    known = http.post("/v1/chat/completions", json={**body, "wibble": None, "stream_options": None})
    assert "studiolo-ignored-fields" not in known.headers


def test_settings_have_their_effect(http: httpx.Client) -> None:
    def said(**body: Any) -> str:
        return whole(http, **body).choices[0].message.content or ""

    usual = said()
    assert said(temperature=1, seed=7, max_tokens=20) == said(temperature=1, seed=7, max_tokens=20)
    assert said(temperature=1.9, top_k=0, seed=1, max_tokens=20) != said(
        temperature=1.9, top_k=0, seed=2, max_tokens=20
    )
    logprobs = whole(http, logprobs=True, top_logprobs=1, max_tokens=1).choices[0].logprobs
    assert logprobs and logprobs.content and usual.startswith(logprobs.content[0].token)
    first = http.post("/v1/chat/completions", json={"model": LLM, "messages": HELLO, "max_tokens": 1}).json()
    assert first["choices"][0]["finish_reason"] == "length"
    assert whole(http, max_tokens=20, max_completion_tokens=3).usage.completion_tokens == 3  # type: ignore[union-attr]
    assert said(stop=usual[5:9]) == usual[: usual.index(usual[5:9])]
    assert said(presence_penalty=2, frequency_penalty=2, max_tokens=40) != said(max_tokens=40)
    assert said(repeat_penalty=1.8, max_tokens=40) != said(max_tokens=40)


def test_a_token_that_is_forbidden_is_not_generated(http: httpx.Client) -> None:
    usual = whole(http, max_tokens=1).choices[0].message.content
    found = [whole(http, max_tokens=1, logit_bias={str(token): 100}).choices[0].message.content for token in (100, 101)]
    assert found[0] != found[1] and usual not in found
    biased = whole(http, max_tokens=1, logit_bias={"100": 100}).choices[0].message.content
    both = whole(http, max_tokens=1, logit_bias={"100": -100, "101": 100}).choices[0].message.content
    assert (biased, both) == (found[0], found[1])


def test_stop_strings_end_the_answer_and_are_not_sent(http: httpx.Client) -> None:
    text = whole(http, max_tokens=30).choices[0].message.content or ""
    stop = text[8:14]
    answer = whole(http, max_tokens=30, stop=["\n\nEnd", stop]).choices[0]
    assert (answer.message.content, answer.finish_reason) == (text[: text.index(stop)], "stop")
    chunks, _ = frames(http, max_tokens=30, stop=[stop, "never there"])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_several_answers_to_one_prompt(http: httpx.Client) -> None:
    answer = whole(http, n=2, temperature=1.5, seed=3, max_tokens=6)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content
    one = whole(http, max_tokens=6)
    assert answer.usage and one.usage
    assert answer.usage.prompt_tokens == one.usage.prompt_tokens and answer.usage.completion_tokens == 12
    chunks, _ = frames(http, n=2, temperature=1.5, seed=3, max_tokens=6)
    for index in (0, 1):
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        text = "".join(choice.delta.content or "" for choice in own)
        assert text == answer.choices[index].message.content
        assert own[-1].finish_reason == "length"


def test_log_probabilities(http: httpx.Client) -> None:
    answer = whole(http, logprobs=True, top_logprobs=2, max_tokens=4).choices[0]
    assert answer.logprobs and answer.logprobs.content
    assert "".join(each.token for each in answer.logprobs.content) == answer.message.content
    for each in answer.logprobs.content:
        assert each.logprob <= 0 and bytes(each.bytes or []).decode() == each.token
        assert len(each.top_logprobs) == 2 and each.top_logprobs[0].token == each.token
    chunks, _ = frames(http, logprobs=True, max_tokens=4)
    sent = [each for chunk in chunks if chunk.choices[0].logprobs for each in chunk.choices[0].logprobs.content or ()]
    assert [each.token for each in sent] == [each.token for each in answer.logprobs.content]
    assert all(each.top_logprobs == [] for each in sent)


def test_log_probabilities_beside_a_stop_string_are_those_of_the_text(http: httpx.Client) -> None:
    usual = whole(http, logprobs=True, max_tokens=12).choices[0]
    tokens = [each.token for each in (usual.logprobs.content if usual.logprobs else None) or ()]
    end = next(index for index in range(4, 12) if "".join(tokens).find(tokens[index]) == len("".join(tokens[:index])))
    for body in ({}, {"tools": TOOLS}):
        stop = [tokens[end], tokens[end - 1][-1:] + "never"]
        answer = whole(http, logprobs=True, max_tokens=12, stop=stop, **body).choices[0]
        listed = [each.token for each in (answer.logprobs.content if answer.logprobs else None) or ()]
        assert "".join(listed) == answer.message.content and answer.finish_reason in ("stop", "length")
        assert listed == tokens[:end] or body  # tools change the prompt
        chunks, _ = frames(http, logprobs=True, max_tokens=12, stop=stop, **body)
        choices = [chunk.choices[0] for chunk in chunks]
        sent = [each.token for choice in choices if choice.logprobs for each in choice.logprobs.content or ()]
        assert "".join(sent) == "".join(choice.delta.content or "" for choice in choices) and (sent == listed or body)


CHOICES = [
    ("required", {"a", "b"}),
    ({"type": "function", "function": {"name": "b"}}, {"b"}),
    (
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "b"}}]},
        },
        {"b"},
    ),
]


@pytest.mark.parametrize(("choice", "names"), CHOICES, ids=["required", "named", "allowed"])
def test_a_forced_call_is_made(http: httpx.Client, client: openai.OpenAI, choice: Any, names: set[str]) -> None:
    body = {"model": VALUES, "tools": TOOLS, "tool_choice": choice, "max_tokens": 60}
    answer = whole(http, **body).choices[0]
    assert answer.finish_reason == "tool_calls" and answer.message.content is None
    calls = answer.message.tool_calls or []
    assert calls and {call.function.name for call in calls if call.type == "function"} <= names
    for call in calls:
        assert call.type == "function"
        validate(json.loads(call.function.arguments), TOOLS[0]["function"]["parameters"])
    settings: dict[str, Any] = {"messages": HELLO, "temperature": 0, **body}
    with client.chat.completions.stream(**settings) as stream:
        final = stream.get_final_completion().choices[0]
    streamed = final.message.tool_calls or []
    assert [call.function.arguments for call in streamed] == [
        call.function.arguments for call in calls if call.type == "function"
    ]
    assert final.finish_reason == "tool_calls"


def test_no_call_is_made_where_none_is_allowed(http: httpx.Client) -> None:
    answer = whole(http, tools=TOOLS, tool_choice="none").choices[0]
    assert answer.message.tool_calls is None and answer.message.content


def test_the_frames_of_a_call(http: httpx.Client) -> None:
    _, texts = frames(http, model=VALUES, tools=TOOLS, tool_choice="required", max_tokens=60)
    choices = [json.loads(text)["choices"][0] for text in texts]
    assert choices[0]["delta"] == {"role": "assistant", "content": None}
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    first = calls[0]
    assert first["index"] == 0 and first["type"] == "function" and first["function"]["name"] in ("a", "b")
    assert first["id"].startswith("call_")
    assert all(call.keys() == {"index", "function"} and call["function"].keys() == {"arguments"} for call in calls[1:])
    assert "city" in json.loads("".join(call["function"]["arguments"] for call in calls))


def test_a_call_that_is_cut_within_its_name_is_not_text(http: httpx.Client) -> None:
    body = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 2}
    choice = whole(http, **body).choices[0]
    assert (choice.message.content or "", choice.finish_reason) == ("", "length")
    choices = [each for chunk in frames(http, **body)[0] for each in chunk.choices]
    assert [each.delta.content or "" for each in choices] == [""] * len(choices)
    assert choices[-1].finish_reason == "length"


def test_a_call_that_is_cut_off_is_not_a_finished_one(http: httpx.Client) -> None:
    body = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 5}
    assert whole(http, **body).choices[0].finish_reason == "length"
    assert frames(http, **body)[0][-1].choices[0].finish_reason == "length"


def test_messages_in_the_shapes_that_clients_send_back(http: httpx.Client) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "a", "arguments": '{"city": "Rome"}'}}
    sent_back = {"content": None, "refusal": None, "audio": None, "annotations": [], "function_call": None}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather in"}, {"type": "text", "text": " Rome?"}]},
        {"role": "assistant", **sent_back, "tool_calls": [call], "reasoning_content": "I need a tool."},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "42 degrees"}]},
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "And?", "name": "ann"},
    ]
    for tools in (TOOLS, None):
        assert whole(http, messages=messages, tools=tools).usage.prompt_tokens > 40  # type: ignore[union-attr]


def test_an_image_is_refused_by_name_where_the_model_does_not_see(http: httpx.Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    error = refusal(http, messages=[{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}])
    assert error["param"] == "messages" and "image" in error["message"]
    remote = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}
    assert refusal(http, messages=[{"role": "user", "content": [remote]}])["param"] == "messages.0.content.0"


BOOK = {
    "type": "object",
    "properties": {"kind": {"$ref": "#/$defs/kind"}, "pages": {"type": "integer"}},
    "required": ["kind", "pages"],
    "additionalProperties": False,
    "$defs": {"kind": {"enum": ["novel", "poem"]}},
}


def test_the_forms_of_an_answer(http: httpx.Client) -> None:
    asked = [{"role": "user", "content": "Describe a short book as JSON."}]
    form = {"type": "json_schema", "json_schema": {"name": "book", "strict": True, "schema": BOOK}}
    answer = whole(http, model=VALUES, messages=asked, response_format=form, max_tokens=60).choices[0]
    assert answer.finish_reason == "stop"
    validate(json.loads(answer.message.content or ""), BOOK)
    chunks, _ = frames(http, model=VALUES, messages=asked, response_format=form, max_tokens=60)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.message.content
    found = whole(http, messages=asked, response_format={"type": "json_object"}, max_tokens=200).choices[0]
    if found.finish_reason == "stop":
        assert isinstance(json.loads(found.message.content or ""), dict)
    assert (found.message.content or "").lstrip().startswith("{")
    assert whole(http, response_format={"type": "text"}).choices == whole(http).choices


@pytest.mark.parametrize("forbidden", [(), ("[TOOL", "[", " [")], ids=["call", "text"])
def test_an_answer_beside_tools_is_a_call_or_has_the_form(
    http: httpx.Client, base_url: str, forbidden: tuple[str, ...]
) -> None:
    with lm.Client(base_url.removeprefix("http://")) as client:
        first = [client.llm.model(LLM).tokenize(text)[0] for text in forbidden]
    body = {
        "model": SENSIBLE,
        "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "book", "schema": BOOK}},
        "tools": TOOLS,
        "logit_bias": {str(token): -100 for token in first},
        "max_tokens": 80,
    }
    answer = whole(http, **body).choices[0]
    if forbidden:
        assert answer.finish_reason == "stop" and not answer.message.tool_calls
        validate(json.loads(answer.message.content or ""), BOOK)
        return
    assert answer.finish_reason == "tool_calls" and not answer.message.content
    for call in answer.message.tool_calls or ():
        assert call.type == "function"
        validate(json.loads(call.function.arguments), TOOLS[0]["function"]["parameters"])


def test_the_official_client_reads_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=LLM, messages=[])
