"""Stored chat completions with the official client, on the fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import studiolo_fake_engine as fake
from openai.types.chat import ChatCompletion, ChatCompletionDeleted

from tests.support.http_server import ServerInThread

pytestmark = pytest.mark.slow


@pytest.fixture
def client(fake_server: ServerInThread) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, text: str = "hi", **body: Any) -> ChatCompletion:
    settings = {"model": "alpha", "store": True, "messages": [{"role": "user", "content": text}], **body}
    return client.chat.completions.create(**settings)


def test_a_chat_is_stored_only_where_that_is_asked_for_on_a_fake_engine(
    client: openai.OpenAI, fake_server: ServerInThread
) -> None:
    kept = chat(client, metadata={"topic": "greeting"})
    for body in ({"store": False}, {"store": None}):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.retrieve(chat(client, **body).id)
    answer = httpx.get(f"{fake_server.url}/v1/chat/completions/{kept.id}")
    found = ChatCompletion.model_validate_json(answer.text, strict=True)
    assert found == kept and answer.json()["metadata"] == {"topic": "greeting"}


def test_a_streamed_chat_is_stored_by_the_id_of_its_frames_on_a_fake_engine(client: openai.OpenAI) -> None:
    fake.models["alpha"] = fake.FakeModel()
    messages: Any = [{"role": "user", "content": "hi"}]
    chunks = list(client.chat.completions.create(model="alpha", messages=messages, store=True, stream=True, n=2))
    found = client.chat.completions.retrieve(chunks[0].id)
    assert [choice.message.content for choice in found.choices] == ["One two three."] * 2
    assert found.created == chunks[0].created


def test_stored_chats_are_listed_by_page_model_and_metadata_on_a_fake_engine(client: openai.OpenAI) -> None:
    ids = [chat(client, metadata={"number": str(number % 2)}).id for number in range(3)]
    other = chat(client, model="beta").id
    assert [each.id for each in client.chat.completions.list(limit=2)] == [*ids, other]
    assert [each.id for each in client.chat.completions.list(order="desc")] == [other, *reversed(ids)]
    assert [each.id for each in client.chat.completions.list(model="beta")] == [other]
    assert [each.id for each in client.chat.completions.list(metadata={"number": "0"}, limit=1)] == [ids[0], ids[2]]


def test_a_stored_chat_is_changed_and_removed_on_a_fake_engine(
    client: openai.OpenAI, fake_server: ServerInThread
) -> None:
    first, second = chat(client), chat(client)
    client.chat.completions.update(first.id, metadata={"a": "b"})
    url = f"{fake_server.url}/v1/chat/completions/{first.id}"
    assert httpx.get(url).json()["metadata"] == {"a": "b"}
    assert [each.id for each in client.chat.completions.list()] == [first.id, second.id]
    ChatCompletionDeleted.model_validate_json(httpx.delete(url).text, strict=True)
    for method, address in (("GET", url), ("DELETE", url), ("GET", f"{url}/messages")):
        answer = httpx.request(method, address)
        assert answer.status_code == 404 and answer.json()["error"]["param"] == "completion_id"
    assert httpx.post(url, json={"metadata": {}}).status_code == 404
    assert httpx.post(url, json={"metadata": {"a": "b" * 513}}).json()["error"]["param"] == "metadata"


def test_the_messages_of_a_stored_chat_are_listed_on_a_fake_engine(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "hello"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    kept = chat(client, messages=messages)
    found: list[Any] = list(client.chat.completions.messages.list(kept.id, limit=1))
    assert [message.role for message in found] == ["system", "user"]
    assert (found[0].content, found[1].content) == ("Be brief.", None)
    assert found[1].content_parts[0].text == "hello" and found[0].id != found[1].id
