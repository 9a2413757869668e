"""The request of a chat: its fields, and what they mean to the host."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from msgspec import Meta, Struct

from ...config import LoadConfig, PredictionConfig
from ...domain.chat import Message, Text
from ...host.load_progress import LoadWatcher
from ...host.on_demand import LoadRequest
from ..http.chats import read_chat
from ..http.fields import Field, converted, honoured, wrong
from ..http.tool_servers import AskedServer

Part = Annotated[float, Meta(ge=0, le=1)]

ID_PREFIX = "resp_"

PLUGIN_PREFIX = "mcp/"
"""What the ids of the MCP servers of ``mcp.json`` begin with."""


class InputItem(Struct):
    """A part of the user's message: text or an image."""

    type: Literal["message", "text", "image"]
    content: str | None = None
    data_url: str | None = None


class Integration(Struct):
    """Tools that the server calls: those of an MCP server of ``mcp.json``, or of one that the request names."""

    type: Literal["plugin", "ephemeral_mcp"]
    id: str | None = None
    server_label: Annotated[str, Meta(min_length=1)] | None = None
    server_url: str | None = None
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | None = None


class ChatBody(Struct, kw_only=True):
    """The body of a request to chat."""

    model: Annotated[str, Meta(min_length=1)]
    input: Any
    system_prompt: str | None = None
    integrations: list[str | Integration] | None = None
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

    def servers(self) -> list[AskedServer]:
        """Return the MCP servers. Raise :class:`InvalidRequestError` for what is malformed in them."""
        given = self.integrations or ()
        return [
            _server(Integration("plugin", each) if isinstance(each, str) else each, f"integrations.{index}")
            for index, each in enumerate(given)
        ]

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


def _server(given: Integration, place: str) -> AskedServer:
    if given.type == "plugin":
        for name in ("server_label", "server_url", "headers"):
            if getattr(given, name) is not None:
                raise wrong(f"{place}.{name}", "only an ephemeral_mcp has it")
        if given.id is None or not given.id.startswith(PLUGIN_PREFIX):
            raise wrong(f"{place}.id" if given.id is None else place, "expected an id that begins with 'mcp/'")
        return AskedServer(name=given.id.removeprefix(PLUGIN_PREFIX), place=place, allowed=given.allowed_tools)
    if given.id is not None:
        raise wrong(f"{place}.id", "only a plugin has it")
    for name in ("server_label", "server_url"):
        if getattr(given, name) is None:
            raise wrong(f"{place}.{name}", "missing")
    return AskedServer(
        name=given.server_label or "",
        place=place,
        url=given.server_url,
        headers=given.headers or {},
        allowed=given.allowed_tools,
    )


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
    "integrations": honoured(
        "Tools of MCP servers that the server calls, where its settings allow it: ids of plugins (mcp/NAME, of "
        "mcp.json; server.mcp_json), or objects (server.mcp_urls for those with an address)."
    ),
    "integrations.type": honoured("plugin or ephemeral_mcp."),
    "integrations.id": honoured("Of a plugin: mcp/ and the name of a server in mcp.json."),
    "integrations.server_label": honoured("The name of an ephemeral server."),
    "integrations.server_url": honoured("Its address: MCP over streamable HTTP."),
    "integrations.headers": honoured("Headers of every request to it.", whole=True),
    "integrations.allowed_tools": honoured("The tools that may be called; all of them by default.", whole=True),
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
