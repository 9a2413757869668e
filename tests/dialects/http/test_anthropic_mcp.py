"""Tools of MCP servers in Anthropic's messages, on a fake engine that calls them: blocks, events, toolsets."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types.beta import BetaMessage

from tests.support.calling import allow, prompt, said, scripted
from tests.support.http_server import ServerInThread
from tests.support.official_events import BETA_MESSAGE_EVENT, PING

USER = {"role": "user", "content": "Go."}


def named(url: str, **fields: Any) -> dict[str, Any]:
    return {"type": "url", "name": "sums", "url": url, **fields}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "alpha", "max_tokens": 50, "messages": [USER], **fields}


def create(server: ServerInThread, **fields: Any) -> BetaMessage:
    answer = httpx.post(f"{server.url}/v1/messages", json=body(**fields), timeout=60)
    assert answer.status_code == 200, answer.text
    return BetaMessage.model_validate_json(answer.text, strict=True)


def refusal(server: ServerInThread, status: int = 400, **fields: Any) -> str:
    messages: list[str] = []
    for stream in (False, True):
        answer = httpx.post(f"{server.url}/v1/messages", json=body(**fields, stream=stream), timeout=60)
        assert answer.status_code == status and answer.json()["type"] == "error", answer.text
        messages.append(answer.json()["error"]["message"])
    assert messages[0] == messages[1]
    return messages[0]


def streamed(server: ServerInThread, **fields: Any) -> list[Any]:
    with httpx.stream("POST", f"{server.url}/v1/messages", json=body(**fields, stream=True), timeout=60) as answer:
        assert answer.status_code == 200
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ") and line[6:] != PING]
    for line in lines:
        BETA_MESSAGE_EVENT.validate_json(line, strict=True)
    return [json.loads(line) for line in lines]


def dumped(content: Any) -> list[dict[str, Any]]:
    """Blocks without their ids."""
    return [{key: value for key, value in block.items() if key not in ("id", "tool_use_id")} for block in content]


CALLED = [
    {"type": "text", "text": "Let me see. "},
    {"type": "mcp_tool_use", "name": "multiply", "server_name": "sums", "input": {"a": 6, "b": 7}},
    {"type": "mcp_tool_result", "is_error": False, "content": [{"type": "text", "text": "42"}]},
    {"type": "text", "text": "It is 42."},
]


def test_a_tool_is_called_and_the_answer_follows_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    servers = [named(mcp_url, authorization_token="hunter2")]
    scripted(["Let me see. ", *said("multiply", a=6, b=7)], ["It is 42."])
    found = create(fake_server, mcp_servers=servers)
    content = json.loads(found.model_dump_json(exclude_unset=True))["content"]
    assert dumped(content) == CALLED and found.stop_reason == "end_turn" and found.usage.output_tokens == 5
    assert content[1]["id"] == content[2]["tool_use_id"] and content[1]["id"].startswith("mcptoolu_")

    scripted(["Again."])
    earlier = [USER, {"role": "assistant", "content": content}, {"role": "user", "content": "And?"}]
    create(fake_server, mcp_servers=servers, messages=earlier)
    assert "42" in prompt() and "It is 42." in prompt() and "mcp_tool" not in prompt()

    scripted(["Let me see. ", *said("multiply", a=6, b=7)], ["It is 42."])
    events = streamed(fake_server, mcp_servers=servers)
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    kinds = [event["type"] for index, event in enumerate(events) if event["type"] != events[index - 1]["type"]]
    result = ["content_block_start", "content_block_stop"]
    assert kinds == ["message_start", *block, *block, *result, *block, "message_delta", "message_stop"]
    started = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert dumped(started)[1:3] == [{**CALLED[1], "input": {}}, CALLED[2]]
    partial = [event["delta"].get("partial_json", "") for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(partial)) == {"a": 6, "b": 7}
    assert events[-2]["usage"]["output_tokens"] == 5


TOOLSETS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"multiply", "greet", "broken"}),
    ({"default_config": {"enabled": False}, "configs": {"greet": {"enabled": True}}}, {"greet"}),
    ({"configs": {"greet": {"enabled": False, "defer_loading": True}}}, {"multiply", "broken"}),
]


def test_toolsets_and_configurations_say_what_is_offered_on_a_fake_engine(
    fake_server: ServerInThread, mcp_url: str
) -> None:
    allow(fake_server, 'mcp_urls = "any"')

    def offered(**fields: Any) -> set[str]:
        create(fake_server, **fields)
        return {name for name in ("multiply", "greet", "broken") if f'"{name}"' in prompt()}

    for toolset, expected in TOOLSETS:
        entry = {"type": "mcp_toolset", "mcp_server_name": "sums", **toolset}
        assert offered(mcp_servers=[named(mcp_url)], tools=[entry]) == expected
    for configuration, expected in (({"allowed_tools": ["greet"]}, {"greet"}), ({"enabled": False}, set[str]())):
        assert offered(mcp_servers=[named(mcp_url, tool_configuration=configuration)]) == expected


def test_errors_and_the_client_s_own_tools_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    servers = [named(mcp_url)]
    scripted(said("broken"), ["It is broken."])
    failed = create(fake_server, mcp_servers=servers).content[1]
    assert failed.type == "mcp_tool_result" and failed.is_error and "it is broken" in failed.model_dump_json()
    own = {"name": "greet", "input_schema": {"type": "object", "properties": {}}}
    scripted([*said("multiply", a=2, b=2), *said("greet")])
    found = create(fake_server, mcp_servers=servers, tools=[own])
    assert [block.type for block in found.content] == ["mcp_tool_use", "tool_use", "mcp_tool_result"]
    assert found.stop_reason == "tool_use"


@pytest.mark.usefixtures("patient")
def test_wrong_servers_and_toolsets_are_refused_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    assert refusal(fake_server, mcp_servers=[named(mcp_url)]).startswith("mcp_servers.0: ")
    allow(fake_server, 'mcp_urls = "any"')
    entry = {"type": "mcp_toolset", "mcp_server_name": "other"}
    assert refusal(fake_server, mcp_servers=[named(mcp_url)], tools=[entry]).startswith("tools.0.mcp_server_name: ")
    pinned = {"type": "mcp_toolset", "mcp_server_name": "sums", "tools": []}
    assert refusal(fake_server, mcp_servers=[named(mcp_url)], tools=[pinned]).startswith("tools.0.tools: ")
    wrong = [named(mcp_url, tool_configuration={"allowed_tools": ["add"]})]
    assert refusal(fake_server, mcp_servers=wrong).startswith("mcp_servers.0.allowed_tools: ")
    assert "sums" in refusal(fake_server, 502, mcp_servers=[named("http://127.0.0.1:9/")])


def test_the_official_client_calls_and_counts_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    scripted(["Let me see. ", *said("multiply", a=6, b=7)], ["It is 42."])
    settings: Any = {"model": "alpha", "messages": [USER], "betas": ["mcp-client-2025-11-20"]}
    settings["mcp_servers"] = [named(mcp_url)]
    settings["tools"] = [{"type": "mcp_toolset", "mcp_server_name": "sums"}]
    with anthropic.Anthropic(base_url=fake_server.url, api_key="any", max_retries=0) as client:
        with client.beta.messages.stream(**settings, max_tokens=50) as stream:
            found = stream.get_final_message()
        assert dumped(json.loads(found.model_dump_json(exclude_unset=True))["content"])[-1] == CALLED[-1]
        counted = client.beta.messages.count_tokens(**settings).input_tokens
        settings["tools"][0]["default_config"] = {"enabled": False}
        assert counted > client.beta.messages.count_tokens(**settings).input_tokens


SENT: list[tuple[list[Any], str]] = [
    ([{"type": "mcp_tool_use", "id": {}, "name": "a", "server_name": "s", "input": {}}], "mcp_tool_use"),
    ([{"type": "mcp_tool_use", "id": "x", "name": "a", "server_name": "s", "input": {}}], "mcp_tool_use"),
    ([{"type": "mcp_tool_result", "tool_use_id": "x", "content": "found"}], "mcp_tool_result"),
]


def test_halves_of_calls_stay_in_the_conversation_as_text_on_a_fake_engine(fake_server: ServerInThread) -> None:
    for content, shown in SENT:
        create(fake_server, messages=[USER, {"role": "assistant", "content": content}, USER])
        assert shown in prompt()
