"""What Anthropic's messages refuse: by the path of the field, whole and streamed alike, before a token is generated."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from anthropic.types import ErrorResponse

from tests.support.anthropic_messages import (
    HELLO,
    SENT_BACK,
    TOOLS,
    refusal,
    whole,
)

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens: missing"),
    ({"max_tokens": -1}, "max_tokens: "),
    ({"model": None}, "model: missing"),
    ({"model": ""}, "model: "),
    ({"temperature": "hot"}, "temperature: "),
    ({"messages": []}, "messages: "),
    ({"messages": {"messages": []}}, "messages: expected an array, got an object"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: missing"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role: "),
    ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "messages.0.content.0: "),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text: missing"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}, "messages.0.content.0: "),
    ({"messages": [*HELLO, {"role": "assistant", "content": [SENT_BACK[2]["content"][3]]}]}, "messages.1.content: "),
    (
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "y"}]},
            ]
        },
        "messages.2.content.0: ",
    ),
    ({"system": [{"type": "image"}]}, "system.0: "),
    ({"system": 5}, "system: "),
    ({"tools": [{"name": "a"}]}, "tools.0.input_schema: missing"),
    ({"tools": [TOOLS[0], TOOLS[0]]}, "tools.1: "),
    ({"tool_choice": {"type": "any"}}, "tool_choice: "),
    ({"thinking": {"type": "deep"}}, "thinking.type: "),
    ({"output_config": {"effort": "enormous"}}, "output_config.effort: "),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format."),
    ({"speed": "fast"}, "speed: not supported"),
    ({"container": "c"}, "container: not supported"),
    ({"num_ctx": 4096}, "num_ctx: not supported"),
    ({"mcp_servers": [{"type": "url", "url": "file:///x", "name": "x"}]}, "mcp_servers.0: "),
]


@pytest.mark.parametrize(("body", "beginning"), WRONG, ids=[beginning for _, beginning in WRONG])
def test_a_wrong_field_is_refused_by_its_path(http: httpx.Client, body: dict[str, Any], beginning: str) -> None:
    assert refusal(http, **body).startswith(beginning)


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b"[" * 5000])
def test_a_body_that_is_no_object_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/messages", content=body)
    assert answer.status_code == 400
    ErrorResponse.model_validate_json(answer.text, strict=True)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_an_unknown_model_is_an_error_while_another_is_loaded(http: httpx.Client, path: str) -> None:
    whole(http, max_tokens=1)
    assert "no-such-model" in refusal(http, 404, path, model="no-such-model")


def test_a_prompt_that_does_not_fit_is_refused_before_the_stream(http: httpx.Client) -> None:
    message = refusal(http, messages=[{"role": "user", "content": "word " * 9000}])
    assert message.startswith("prompt is too long: ") and "> 8192 maximum" in message
