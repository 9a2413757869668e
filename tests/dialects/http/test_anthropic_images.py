"""Images in Anthropic's messages, with a real model that sees: in a message, in the result of a tool, counted."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import httpx
import pytest
from anthropic.types import Message
from PIL import Image

MODEL = "tiny-vision"


def picture() -> str:
    data = BytesIO()
    Image.new("RGB", (64, 48), "red").save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


BLOCK: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture()}}
URL: Any = {"type": "image", "source": {"type": "url", "url": f"data:image/png;base64,{picture()}"}}
TOOL = {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {}}}
RESULT: list[Any] = [
    {"role": "user", "content": "Look."},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Here."}, BLOCK]},
            {"type": "text", "text": "What is it?"},
        ],
    },
]

BODIES: dict[str, dict[str, Any]] = {
    "base64": {"messages": [{"role": "user", "content": [BLOCK, {"type": "text", "text": "What is it?"}]}]},
    "data URL": {"messages": [{"role": "user", "content": [URL, {"type": "text", "text": "What is it?"}]}]},
    "result": {"messages": RESULT},
    "result, tools": {"messages": RESULT, "tools": [TOOL]},
    "beginning": {"messages": [{"role": "user", "content": [BLOCK]}, {"role": "assistant", "content": "It is"}]},
}


@pytest.mark.parametrize("name", BODIES)
def test_images_are_read_and_counted(http: httpx.Client, name: str) -> None:
    body = {"model": MODEL, **BODIES[name]}
    answer = http.post("/v1/messages", json={**body, "max_tokens": 2})
    assert answer.status_code == 200, answer.text
    usage = Message.model_validate_json(answer.text, strict=True).usage
    counted = http.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0) > 25


def test_what_is_no_image_is_refused(http: httpx.Client) -> None:
    broken = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGFsbG8="}}
    body = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": [broken]}]}
    answer = http.post("/v1/messages", json=body)
    assert answer.status_code == 400 and "not an image" in answer.json()["error"]["message"]
