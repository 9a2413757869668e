"""How often a chat is rendered whose oldest messages may go, on the fake engine: once, where it fits."""

from __future__ import annotations

import pytest
import studiolo_fake_engine as fake

from studiolo.config import PredictionConfig
from studiolo.domain.chat import ChatRequest, Message, Text, Tool
from studiolo.domain.models import ModelReference
from studiolo.engines.base import TemplateRequest
from studiolo.host.host import Host

TOOLS = [Tool("look", description="Look.", parameters={"type": "object"})]


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["without tools", "with tools"])
async def test_a_chat_that_fits_is_rendered_once(
    fake_host: Host, monkeypatch: pytest.MonkeyPatch, tools: list[Tool] | None
) -> None:
    rendered: list[TemplateRequest] = []
    render = fake.FakeEngine.apply_template

    async def noted(engine: fake.FakeEngine, chat: TemplateRequest) -> str:
        rendered.append(chat)
        return await render(engine, chat)

    monkeypatch.setattr(fake.FakeEngine, "apply_template", noted)
    fake.models["alpha"] = fake.FakeModel(tokens=("Yes.",))
    chat = ChatRequest(messages=[Message("user", [Text("Hello")])], tools=tools)
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        prediction = fake_host.predict(lease, chat, PredictionConfig(context_overflow_policy="rollingWindow"))
        async for _ in prediction.events():
            pass
        await prediction.close()
    assert len(rendered) == 1 and "Hello" in rendered[0].messages[-1].text
