"""The request of a chat: its fields, and what they mean to the host."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from msgspec import Meta, Struct

from ...config import LoadConfig, PredictionConfig
from ...domain.chat import Message, Text
from ...host.load_progress import LoadWatcher
from ...host.on_demand import LoadRequest
from ..http.chats import read_chat
from ..http.fields import Field, converted, honoured, refused, wrong

Part = Annotated[float, Meta(ge=0, le=1)]

ID_PREFIX = "resp_"


class InputItem(Struct):
    """A part of the user's message: text or an image."""

    type: Literal["message", "text", "image"]
    content: str | None = None
    data_url: str | None = None


class ChatBody(Struct, kw_only=True):
    """The body of a request to chat."""

    model: Annotated[str, Meta(min_length=1)]
    input: Any
    system_prompt: str | None = None
    stream: bool = False
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Part | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Part | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=1e30)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    seed: int | None = None
    reasoning: Literal["off", "on", "low", "medium", "high"] | None = None
    context_length: Annotated[int, Meta(ge=1)] | None = None
    store: bool = True
    previous_response_id: str | None = None

    def user_message(self) -> list[Message]:
        """Return the message of the input. Raise :class:`InvalidRequestError` for what is malformed in it."""
        given: object = self.input
        if isinstance(given, str):
            return [Message("user", [Text(given)])]
        if not isinstance(given, list) or not given:
            raise wrong("input", "expected a string, or an array of at least one item")
        items = converted(cast("list[Any]", given), list[InputItem], "input")
        parts = [_part(item, f"input.{index}") for index, item in enumerate(items)]
        return read_chat([{"role": "user", "content": parts}], ("user",), "input")

    def prediction_config(self) -> PredictionConfig:
        """Return the settings as the host has them."""
        effort = {"off": "none", "on": None}.get(self.reasoning or "on", self.reasoning)
        return PredictionConfig(
            temperature=self.temperature,
            top_p_sampling=self.top_p,
            top_k_sampling=self.top_k,
            min_p_sampling=self.min_p,
            repeat_penalty=self.repeat_penalty,
            max_tokens=self.max_output_tokens,
            seed=None if self.seed is None else self.seed % 2**32,
            reasoning_effort=cast("Any", effort),
            enable_thinking=True if self.reasoning == "on" else None,
        )

    def load_request(self, watcher: LoadWatcher) -> LoadRequest:
        """Return how the model is loaded: again, where it is loaded with another context length."""
        if self.context_length is None:
            return LoadRequest(watcher=watcher)
        config = LoadConfig(context_length=self.context_length)
        return LoadRequest(config=config, on_mismatch="reload", watcher=watcher)


def _part(item: InputItem, where: str) -> dict[str, Any]:
    if item.type == "image":
        if item.data_url is None:
            raise wrong(f"{where}.data_url", "missing")
        return {"type": "image_url", "image_url": {"url": item.data_url}}
    if item.content is None:
        raise wrong(f"{where}.content", "missing")
    return {"type": "text", "text": item.content}


FIELDS: dict[str, Field] = {
    "model": honoured("The key of a model, the identifier of a loaded instance, or an alias of the server's."),
    "input": honoured(
        "The user's message: text, or a list of texts and images (data URLs; addresses where server.fetch_urls allows "
        "it).",
        whole=True,
    ),
    "system_prompt": honoured("The system message; it replaces the one of the response that is continued."),
    "integrations": refused("Tools of MCP servers are not called by the server: use act() of the SDK.", []),
    "stream": honoured("The answer as server-sent events."),
    "temperature": honoured("0 for the likeliest token; higher for more variety."),
    "top_p": honoured("Sample among the likeliest tokens whose probabilities add up to this."),
    "top_k": honoured("Sample among this many likeliest tokens."),
    "min_p": honoured("Drop tokens less likely than this fraction of the likeliest."),
    "repeat_penalty": honoured("Divides the logit of recent tokens."),
    "max_output_tokens": honoured("Generated tokens at most."),
    "seed": honoured("An addition: the same seed gives the same text; taken modulo 2^32."),
    "reasoning": honoured("off, on, low, medium or high; an error where the model does not reason."),
    "context_length": honoured("A model that is loaded with another context length is loaded again with this one."),
    "store": honoured("Whether the response can be continued by its id; true by default."),
    "previous_response_id": honoured("The stored response that this one continues; any one, so that chats branch."),
}
