"""The request of a response: its fields, and what they mean to the host."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...config import PredictionConfig
from ...config.prediction import StructuredSetting
from ..http.fields import Field, honoured, ignored, refused, wrong
from . import sampling
from .chat_request import Metadata, ReasoningEffort
from .sampling import CommonSampling, Limit, checked_limit

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"

Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]

Truncation = Literal["auto", "disabled"]


class TextFormat(Struct):
    """The form that the text of an answer is held to."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None


class TextSettings(Struct):
    """Settings of the text of an answer."""

    format: TextFormat | None = None


class ReasoningSettings(Struct):
    """Settings of reasoning."""

    effort: ReasoningEffort | None = None


class StreamOptions(Struct):
    """Settings of a stream; the only one has no effect here."""


class ResponseBody(CommonSampling, kw_only=True):
    """The body of a request for a response."""

    input: Any = None
    instructions: str | None = None
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    tool_choice: Any = None
    tools: list[Any] | None = None
    truncation: Truncation = "disabled"
    background: bool = False
    include: list[Include] | None = None
    max_output_tokens: Limit | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    store: bool = True
    stream_options: StreamOptions | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether the log-probabilities of the text are asked for."""
        return self.top_logprobs is not None or LOGPROBS in (self.include or ())

    @property
    def wants_sealed_reasoning(self) -> bool:
        """Whether reasoning is given as ``encrypted_content`` as well."""
        return ENCRYPTED in (self.include or ())

    def prediction_config(self) -> PredictionConfig:
        """See :meth:`CommonSampling.prediction_config`."""
        config = with_prompt_settings(super().prediction_config(), self)
        limit = checked_limit(self.max_output_tokens, "max_output_tokens")
        config.max_tokens = False if limit == -1 else limit
        if self.wants_logprobs:
            config.log_probs = self.top_logprobs or 0
        return config


class CountBody(Struct, kw_only=True):
    """The body of a request to count the tokens of an input."""

    model: Annotated[str, Meta(min_length=1)]
    input: Any = None
    instructions: str | None = None
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    tool_choice: Any = None
    tools: list[Any] | None = None
    truncation: Truncation = "disabled"


def with_prompt_settings(config: PredictionConfig, body: ResponseBody | CountBody) -> PredictionConfig:
    """Return ``config`` with the settings of the prompt of ``body``."""
    config.reasoning_effort = body.reasoning.effort if body.reasoning else None
    config.structured = _structured(body.text.format if body.text else None)
    if body.truncation == "auto":
        config.context_overflow_policy = "rollingWindow"
    return config


def _structured(form: TextFormat | None) -> StructuredSetting | None:
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return StructuredSetting.any_object()
    for key in ("name", "schema"):
        if getattr(form, key) is None:
            raise wrong(f"text.format.{key}", "missing")
    return StructuredSetting(type="json", json_schema=form.schema or {})


_CACHE = ignored("Prompts are cached by their beginning.")
_CONVERSATION = "There are no conversation objects: use previous_response_id."

_PROMPT_FIELDS: dict[str, Field] = {
    "model": sampling.FIELDS["model"],
    "input": honoured(
        "Text or items: messages, function and custom calls and their outputs, reasoning, additional_tools, "
        "references to stored items; images as data URLs, documents (input_file) by file_data, both by their addresses "
        "where server.fetch_urls allows it; audio (input_audio) as in chat completions, an addition.",
        whole=True,
    ),
    "instructions": honoured("The system message of this response; later ones do not see it."),
    "parallel_tool_calls": honoured("false: one call of a tool at most."),
    "previous_response_id": honoured("The stored response that this one continues; any one, so that chats branch."),
    "reasoning": honoured("Settings of reasoning."),
    "reasoning.effort": honoured("How much a model that reasons may: none, minimal, low, medium, high, xhigh, max."),
    "reasoning.summary": ignored("Reasoning is given whole; a model without summaries gives none upstream either."),
    "reasoning.generate_summary": ignored("Deprecated by OpenAI: see reasoning.summary."),
    "reasoning.context": refused("Which reasoning is kept is a matter of the model's template.", "auto"),
    "reasoning.mode": refused("A service of OpenAI's own.", "standard"),
    "text": honoured("Settings of the text."),
    "text.format": honoured("The form of the text."),
    "text.format.type": honoured("text, json_object or json_schema."),
    "text.format.name": honoured("Required with a schema, as upstream; the model does not see it."),
    "text.format.schema": honoured("The schema that the text is held to.", whole=True),
    "text.format.strict": ignored("Every schema is held to strictly."),
    "text.format.description": ignored("A hint for models that are not held to the schema."),
    "text.verbosity": ignored("A hint that models without it ignore upstream as well."),
    "tool_choice": honoured(
        "none, auto, required, one tool, the tools of an MCP server, or the allowed tools.", whole=True
    ),
    "tools": honoured(
        "function, custom (a grammar is a hint), namespace with both, and mcp with a server_url where server.mcp_urls "
        "allows it (connectors and tunnels are refused). Tools that OpenAI runs (web_search, image_generation, ...) "
        "are not offered to the model: the answer's header names them.",
        whole=True,
    ),
    "truncation": honoured("auto: the oldest messages are left out where the context is too small."),
    "conversation": refused(_CONVERSATION),
}

COUNT_FIELDS: dict[str, Field] = {
    **_PROMPT_FIELDS,
    "personality": refused("A style of OpenAI's own models: use instructions."),
}

_HOSTED = "A service of OpenAI's own."
_LIMIT = refused("Use max_output_tokens.")

FIELDS: dict[str, Field] = {
    **{
        name: field
        for name, field in sampling.FIELDS.items()
        if name not in ("max_tokens", "n", "stream_options.include_usage")
    },
    **_PROMPT_FIELDS,
    "include": honoured(
        "message.output_text.logprobs, and reasoning.encrypted_content, which carries the reasoning readably; the "
        "others are about tools that are not here."
    ),
    "max_output_tokens": honoured("Generated tokens at most, reasoning included; -1 for no limit but the context."),
    "metadata": honoured("Kept with the response: 16 texts of 512 characters at most.", whole=True),
    "store": honoured("Whether the response can be retrieved and continued; true by default."),
    "top_logprobs": honoured("The likeliest tokens in the place of each, 0 to 20, with their log-probabilities."),
    "access_programs": refused(_HOSTED, []),
    "background": honoured(
        "The answer is made whether or not the client waits, to be retrieved or streamed later; it must be stored."
    ),
    "background_options": refused("There is one way to run in the background."),
    "context_management": refused("Ask for a summary of a long input at /v1/responses/compact.", []),
    "image": refused("No model here paints."),
    "max_tool_calls": honoured("Calls of tools of MCP servers, at most."),
    "moderation": refused(_HOSTED),
    "prompt": refused("Templates of prompts are stored at OpenAI."),
    "prompt_cache_key": _CACHE,
    "prompt_cache_options": _CACHE,
    "prompt_cache_retention": _CACHE,
    "safety_identifier": ignored("Names the end user to the service."),
    "service_tier": ignored("There is one tier."),
    "response_format": refused("It is a field of chat completions: use text.format."),
    "max_tokens": _LIMIT,
    "max_completion_tokens": _LIMIT,
    "reasoning_effort": refused("It is a field of chat completions: use reasoning.effort."),
    "logprobs": refused(f'It is a field of chat completions: use top_logprobs, or include "{LOGPROBS}".', False),
    "n": refused("A response is one answer.", 1),
}
