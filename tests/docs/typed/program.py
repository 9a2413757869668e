"""A program written for LM Studio's SDK, as a type checker sees it with studiolo under that name. It is never run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_type

import studiolo as lmstudio


class Book(lmstudio.BaseModel):
    title: str
    year: int


@dataclass
class Person:
    name: str


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def sync() -> None:
    lmstudio.configure_default_client("localhost:1234", api_token="sk-lm-aaaaaaaa:bbbbbbbbbbbbbbbbbbbb")
    lmstudio.set_sync_api_timeout(None)
    with lmstudio.Client("embedded") as client:
        llm = client.llm.model("a", ttl=60, config={"contextLength": 512}, on_load_progress=print)
        assert_type(llm, lmstudio.LLM)
        assert_type(client.llm.list_loaded(), list[lmstudio.LLM])
        assert_type(client.embedding.model().embed("a"), list[float])
        assert_type(client.embedding.model().embed(["a", "b"]), list[list[float]])
        assert_type(llm.tokenize("a"), list[int])
        assert_type(llm.tokenize(["a", "b"]), list[list[int]])

        assert_type(llm.complete("a"), lmstudio.PredictionResult[str])
        assert_type(llm.respond("a", config={"temperature": 0}).parsed, str)
        for form in (Book, Person):
            assert_type(llm.respond("a", response_format=form).parsed, dict[str, Any])
        assert_type(llm.respond("a", response_format={"type": "object"}).parsed, dict[str, Any])
        assert_type(llm.respond("a", response_format=Book).parsed_as(Book), Book)
        assert_type(llm.complete("a", response_format=Person).parsed_as(Person), Person)

        stream = llm.respond_stream("a", response_format=Book, on_prediction_fragment=print)
        assert_type(stream, lmstudio.PredictionStream[dict[str, Any]])
        assert_type(iter(stream), Iterator[lmstudio.LlmPredictionFragment])
        assert_type(stream.result().parsed, dict[str, Any])
        assert_type(llm.complete_stream("a").wait_for_result().parsed, str)

        chat = lmstudio.Chat("Be short.")
        chat.add_user_message("Hi", images=[client.prepare_image("a.png")])
        assert_type(llm.act(chat, [add], on_message=chat.append), lmstudio.ActResult)
        try:
            llm.unload()
        except lmstudio.LMStudioModelNotFoundError as error:
            assert_type(error, lmstudio.ModelNotFoundError)


async def asynchronous() -> None:
    async with lmstudio.AsyncClient(api_token=None) as client:
        llm = await client.llm.model("a")
        assert_type(llm, lmstudio.AsyncLLM)
        assert_type((await llm.respond("a")).parsed, str)
        assert_type((await llm.respond("a", response_format=Book)).parsed, dict[str, Any])
        assert_type((await llm.complete("a", response_format=Book)).parsed_as(Book), Book)
        stream = llm.complete_stream("a", response_format=Book)
        assert_type(await stream, lmstudio.AsyncPredictionStream[dict[str, Any]])
        async for fragment in stream:
            assert_type(fragment.content, str)
        assert_type((await stream.wait_for_result()).parsed, dict[str, Any])
        assert_type(await llm.tokenize("a"), list[int])


def wrong(llm: lmstudio.LLM) -> None:
    llm.complete(1)  # pyright: ignore[reportArgumentType]
    llm.respond("a", no_such_option=1)  # pyright: ignore[reportCallIssue]
    lmstudio.no_such_name  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
