"""The request of a chat completion: its fields, and what they mean to the host."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...config import PredictionConfig
from ...config.prediction import StructuredSetting
from ...domain.chat import ChatRequest, NamedTool, Tool, ToolChoice
from ..http.chats import check_tool_names, chosen, named, read_chat
from ..http.fields import Field, converted, honoured, ignored, refused, wrong
from . import sampling
from .sampling import Limit, Sampling, checked_limit

ROLES = ("system", "developer", "user", "assistant", "tool")

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


Short = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[Annotated[str, Meta(max_length=64)], Short], Meta(max_length=16)]
"""Texts that a client keeps with what is stored."""


class StreamOptions(Struct):
    """Settings of a stream."""

    include_usage: bool = False


class Function(Struct):
    """A tool's definition."""

    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(Struct):
    """A tool."""

    type: Literal["function"]
    function: Function


class SchemaFormat(Struct):
    """The schema that an answer is held to."""

    name: str
    schema: dict[str, Any] | None = None


class ResponseFormat(Struct):
    """The form that an answer is held to."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


class ToolName(Struct):
    """The name in a choice of a tool."""

    name: str


class AllowedTools(Struct):
    """Some of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class ChoiceOfTool(Struct):
    """A choice of a tool that is not one of the words."""

    type: Literal["function", "allowed_tools"]
    function: ToolName | None = None
    allowed_tools: AllowedTools | None = None


class ChatBody(Sampling, kw_only=True):
    """The body of a request for a chat completion."""

    messages: list[Any]
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_completion_tokens: Limit | None = None
    metadata: Metadata | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: ReasoningEffort | None = None
    response_format: ResponseFormat | None = None
    store: bool = False
    stream_options: StreamOptions | None = None
    tool_choice: Any = None
    tools: list[FunctionTool] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a frame with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def chat(self) -> ChatRequest:
        """Return the chat. Raise :class:`InvalidRequestError` for what is malformed in it."""
        tools = [
            Tool(tool.function.name, tool.function.description, tool.function.parameters) for tool in self.tools or ()
        ]
        check_tool_names(tools)
        tools, choice = _choice(self.tool_choice, tools)
        return ChatRequest(
            messages=read_chat(self.messages, ROLES),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=self.parallel_tool_calls,
        )

    def prediction_config(self) -> PredictionConfig:
        """See :meth:`Sampling.prediction_config`."""
        config = super().prediction_config()
        limits = [self.max_tokens, checked_limit(self.max_completion_tokens, "max_completion_tokens")]
        given = [limit for limit in limits if limit is not None]
        finite = [limit for limit in given if limit > 0]
        config.max_tokens = min(finite) if finite else (False if given else None)
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong("top_logprobs", "needs logprobs to be true")
        if self.logprobs:
            config.log_probs = self.top_logprobs or 0
        config.reasoning_effort = self.reasoning_effort
        config.structured = structured(self.response_format)
        return config


def structured(form: ResponseFormat | None) -> StructuredSetting | None:
    """Return the form of the answer as the host has it."""
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return StructuredSetting.any_object()
    if form.json_schema is None:
        raise wrong("response_format.json_schema", "missing")
    if form.json_schema.schema is None:
        raise wrong("response_format.json_schema.schema", "missing", "Send json_object for any JSON object.")
    return StructuredSetting(type="json", json_schema=form.json_schema.schema)


def _choice(value: Any, tools: list[Tool]) -> tuple[list[Tool], ToolChoice | None]:
    """Return the tools that may be called, and whether one must be."""
    if value is None or value in ("none", "auto", "required"):
        return tools, chosen(tools, value)
    if isinstance(value, str):
        raise wrong("tool_choice", f"{value!r} is none of none, auto, required")
    choice = converted(value, ChoiceOfTool, "tool_choice")
    if choice.allowed_tools is not None:
        allowed = choice.allowed_tools
        names = [
            converted(each, AllowedTool, f"tool_choice.allowed_tools.tools.{i}") for i, each in enumerate(allowed.tools)
        ]
        tools = named(tools, [name.function.name for name in names])
        return tools, chosen(tools, allowed.mode)
    if choice.function is None:
        raise wrong(f"tool_choice.{choice.type}", "missing")
    return tools, chosen(tools, NamedTool(choice.function.name))


class AllowedTool(Struct):
    """An entry of the allowed tools."""

    type: Literal["function"]
    function: ToolName


_HOSTED = "A service of OpenAI's own."

FIELDS: dict[str, Field] = {
    **sampling.FIELDS,
    "messages": honoured(
        "The chat: system, developer, user, assistant and tool messages; images as data URLs, documents (file) by "
        "file_data, both by their addresses where server.fetch_urls allows it (file_url, an addition); audio "
        "(input_audio) in base64: wav, mp3, and flac as an addition.",
        whole=True,
    ),
    "logprobs": honoured("The log-probability of each token of the answer."),
    "top_logprobs": honoured("The likeliest tokens in the place of each, 0 to 20; needs logprobs."),
    "max_completion_tokens": honoured("As max_tokens; with both, the smaller one."),
    "parallel_tool_calls": honoured("false: one call of a tool at most."),
    "reasoning_effort": honoured("How much a model that reasons may: none, minimal, low, medium, high, xhigh, max."),
    "response_format": honoured("The form of the answer."),
    "response_format.type": honoured("text, json_object or json_schema."),
    "response_format.json_schema": honoured("The schema that the answer is held to."),
    "response_format.json_schema.name": honoured("Required, as upstream; the model does not see it."),
    "response_format.json_schema.schema": honoured("The schema.", whole=True),
    "response_format.json_schema.strict": ignored("Every schema is held to strictly."),
    "response_format.json_schema.description": ignored("A hint for models that are not held to the schema."),
    "tool_choice": honoured("none, auto, required, one function, or the allowed tools.", whole=True),
    "tools": honoured("Functions that the model may call."),
    "tools.type": honoured("function."),
    "tools.function": honoured("The function."),
    "tools.function.name": honoured("Its name."),
    "tools.function.description": honoured("What it is for."),
    "tools.function.parameters": honoured("The JSON schema of its arguments.", whole=True),
    "tools.function.strict": ignored(
        "The arguments of calls are held to the schema as far as the model's format allows."
    ),
    "tools.custom": refused("Tools with free text as input exist in /v1/responses."),
    "functions": refused("Deprecated by OpenAI.", []),
    "function_call": refused("Deprecated by OpenAI: use tool_choice.", "auto", "none"),
    "audio": refused("No model here speaks."),
    "modalities": refused("No model here speaks.", ["text"]),
    "moderation": refused(_HOSTED),
    "prediction": ignored("A guess that only makes an answer faster upstream."),
    "metadata": honoured("Kept with a stored completion: 16 texts of 512 characters at most.", whole=True),
    "store": honoured("Whether the completion is kept, to be listed and retrieved; false by default."),
    "prompt_cache_key": ignored("Prompts are cached by their beginning."),
    "prompt_cache_options": ignored("Prompts are cached by their beginning."),
    "prompt_cache_retention": ignored("Prompts are cached by their beginning."),
    "safety_identifier": ignored("Names the end user to the service."),
    "service_tier": ignored("There is one tier."),
    "verbosity": ignored("A hint that models without it ignore upstream as well."),
    "web_search_options": refused(_HOSTED),
}
