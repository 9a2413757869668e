"""Compaction of Anthropic's messages: a summary in the place of a conversation, on the fake engine."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import beta_tool
from anthropic.types.beta import BetaMessage

from tests.support.calling import prompt, said, scripted
from tests.support.http_server import ServerInThread
from tests.support.official_events import BETA_MESSAGE_EVENT, PING

pytestmark = pytest.mark.slow

TOOL = {"name": "a", "input_schema": {"type": "object", "properties": {}}}
CHAT: list[Any] = [
    {"role": "user", "content": "BRAVO"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "a", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "CHARLIE"}]},
]


def post(server: ServerInThread, **body: Any) -> httpx.Response:
    given = {"model": "alpha", "max_tokens": 20, "messages": CHAT, "system": "ALPHA", "tools": [TOOL], **body}
    return httpx.post(f"{server.url}/v1/messages", json=given, timeout=30)


def compacted(server: ServerInThread, **body: Any) -> BetaMessage:
    """The answer to a request for a summary, the same whole and streamed."""
    asked = {"compaction": {"type": "summarize"}, **body}
    scripted(["\nA ", "summary."], ["\nA ", "summary."])
    answer = post(server, **asked)
    assert answer.status_code == 200, answer.text
    found = BetaMessage.model_validate_json(answer.text, strict=True)
    streamed = post(server, **asked, stream=True).text
    lines = [line.removeprefix("data: ") for line in streamed.splitlines() if line.startswith("data: ")]
    lines = [line for line in lines if line != PING]
    for line in lines:
        BETA_MESSAGE_EVENT.validate_json(line, strict=True)
    events = [json.loads(line) for line in lines]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert [event["type"] for event in events] == ["message_start", *block, "message_delta", "message_stop"]
    assert events[2]["delta"] == {"type": "compaction_delta", "content": getattr(found.content[0], "content", "")}
    assert events[4]["delta"]["stop_reason"] == found.stop_reason
    return found


def test_a_summary_stands_for_all_messages_before_it_on_a_fake_engine(fake_server: ServerInThread) -> None:
    found = compacted(fake_server)
    (block,) = found.content
    assert block.type == "compaction" and block.content == "A summary." and found.stop_reason == "compaction"
    assert all(word in prompt() for word in ("ALPHA", "BRAVO", "CHARLIE", "Summarise this conversation"))
    assert "[TOOL_REQUEST]" not in prompt().partition("CHARLIE")[2], "no tool is offered for it"
    compacted(fake_server, compaction={"type": "summarize", "instructions": "Write DELTA."})
    assert "Write DELTA." in prompt() and "Summarise" not in prompt()
    sent_back = {"role": "assistant", "content": [block.model_dump(exclude_none=True)]}
    messages = [*CHAT, sent_back, {"role": "user", "content": "ECHO"}]
    for given in (messages, messages[3:]):
        assert post(fake_server, messages=given).status_code == 200
        assert "BRAVO" not in prompt() and "CHARLIE" not in prompt()
        places = [prompt().index(word) for word in ("ALPHA", "A summary.", "ECHO")]
        assert places == sorted(places)
    failed = {"role": "assistant", "content": [{"type": "compaction", "content": None}]}
    assert post(fake_server, messages=[*CHAT, failed, *CHAT[:1]]).status_code == 200 and "CHARLIE" in prompt()


def test_a_summary_may_be_cut_or_empty_on_a_fake_engine(fake_server: ServerInThread) -> None:
    assert compacted(fake_server, max_tokens=1).stop_reason == "max_tokens"
    scripted([""])
    empty = post(fake_server, compaction={"type": "summarize"}).json()
    assert empty["content"] == [{"type": "compaction", "content": None}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", {"type": "any"}),
        ("stop_sequences", ["x"]),
        ("output_config", {"format": {"type": "json_schema", "schema": {"type": "object"}}}),
        ("compaction", {"type": "shorten"}),
    ],
)
def test_what_shapes_a_reply_is_refused_beside_it(fake_server: ServerInThread, field: str, value: Any) -> None:
    answer = post(fake_server, **{"compaction": {"type": "summarize"}, field: value})
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith(field)


def test_the_official_client_compacts_within_its_loop_on_a_fake_engine(fake_server: ServerInThread) -> None:
    @beta_tool
    def look(place: str) -> str:
        """Look."""
        return f"CHARLIE in {place}"

    scripted(said("look", place="Rome"), ["A summary."], ["Done."])
    with anthropic.Anthropic(base_url=fake_server.url, api_key="any", max_retries=0, timeout=30) as client:
        settings: Any = {"model": "alpha", "max_tokens": 50, "messages": CHAT[:1], "tools": [look]}
        runner = client.beta.messages.tool_runner(**settings)
        reasons: list[str | None] = []
        for message in runner:
            reasons.append(message.stop_reason)
            if len(reasons) == 1:
                runner.compact_before_next_turn()
    assert reasons == ["tool_use", "compaction", "end_turn"]
    assert "A summary." in prompt() and "BRAVO" not in prompt()
