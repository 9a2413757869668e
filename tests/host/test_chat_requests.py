"""Chat requests of the domain beyond LM Studio's wire: one named tool, one call at a time, inline images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.chat import ChatRequest, Image, Message, NamedTool, Text, Tool
from studiolo.domain.generation import PredictionResult, ToolCallFinished
from studiolo.errors import ConfigError, FilesError, UnsupportedError
from studiolo.host.host import Host
from studiolo.host.tool_use import tool_use
from studiolo.paths import Home
from tests.support.homes import link_model

pytestmark = pytest.mark.quick_model

MODEL = "smollm2-135m-instruct"
SMALL = LoadConfig(context_length=1024, max_parallel_predictions=1)
QUESTION = [Message("user", [Text("What is the weather in Rome, and what is 2 plus 3?")])]
FLAG = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
TOOLS = [Tool("weather", "Report the weather.", FLAG), Tool("add", "Add numbers.", FLAG)]


@pytest.fixture
async def host(home: Home) -> AsyncIterator[Host]:
    host = Host(home)
    yield host
    await host.stop()


async def answer(host: Host, model: str, chat: ChatRequest, **config: Any) -> list[Any]:
    instance = await host.load(await host.find_model(model), SMALL)
    settings = PredictionConfig(temperature=0, max_tokens=64, **config)
    async with asyncio.timeout(120):
        return [event async for event in host.predict(instance.lease(), chat, settings).events()]


async def test_a_named_tool_is_the_only_one_that_is_called(host: Host) -> None:
    for name in ("add", "weather"):
        chat = ChatRequest(messages=QUESTION, tools=TOOLS, tool_choice=NamedTool(name))
        events = await answer(host, MODEL, chat)
        assert [event.call.name for event in events if isinstance(event, ToolCallFinished)] == [name]


def test_a_choice_that_cannot_be_followed_is_refused_by_name() -> None:
    def use(**fields: Any) -> Any:
        return tool_use(ChatRequest(messages=QUESTION, **fields), PredictionConfig())

    with pytest.raises(ConfigError, match="'subtract', which is not among the tools"):
        use(tools=TOOLS, tool_choice=NamedTool("subtract"))
    with pytest.raises(ConfigError, match="there are no tools"):
        use(tool_choice="required")
    with pytest.raises(ConfigError, match="Two tools have the name 'add'"):
        use(tools=[TOOLS[1], TOOLS[1]])
    with pytest.raises(UnsupportedError, match="tools and a grammar of its own"):
        config = PredictionConfig.from_dict({"structured": {"type": "gbnf", "gbnf_grammar": 'root ::= "x"'}})
        tool_use(ChatRequest(messages=QUESTION, tools=TOOLS), config)
    assert use(tools=TOOLS, tool_choice="none") is None
    assert use(tools=TOOLS, tool_choice="required").must_call


def picture(side: int = 16) -> bytes:
    out = BytesIO()
    Picture.new("RGB", (side, side), "red").save(out, "PNG")
    return out.getvalue()


async def test_an_image_in_the_request_itself_is_seen(host: Host, vision_model: Path) -> None:
    link_model(vision_model, host.home)
    texts = [Text("What is this?")]
    with_image = ChatRequest(messages=[Message("user", [Image(picture(), "red.png"), *texts])])
    *_, seen = await answer(host, "tiny-vision", with_image)
    *_, blind = await answer(host, "tiny-vision", ChatRequest(messages=[Message("user", texts)]))
    assert isinstance(seen, PredictionResult) and isinstance(blind, PredictionResult)
    assert seen.usage.prompt_tokens > blind.usage.prompt_tokens + 3
    broken = ChatRequest(messages=[Message("user", [Image(picture()[:40], "half.png"), *texts])])
    with pytest.raises(FilesError, match=r"half\.png"):
        await answer(host, "tiny-vision", broken)


async def test_a_model_without_vision_refuses_an_image(host: Host) -> None:
    chat = ChatRequest(messages=[Message("user", [Image(picture(), "red.png")])])
    with pytest.raises(UnsupportedError, match=r"cannot see the image 'red\.png'"):
        await answer(host, MODEL, chat)
