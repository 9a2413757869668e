"""The requests for messages and for the count of their tokens: their fields, and what they mean to the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from ...config import PredictionConfig
from ...config.prediction import StructuredSetting
from ...domain.chat import ChatRequest, Message, Text
from ...host.instance import Instance
from ...mcp.connections import McpTool
from ..http.chats import SUMMARY_ORDER
from ..http.fields import Field, honoured, ignored, refused, wrong
from ..http.tool_servers import AskedServer
from . import mcp, tools
from .conversation import Conversation, read_conversation
from .tools import ChoiceOfTool, ToolEntry, choice_among, offered

Effort = Literal["low", "medium", "high", "xhigh", "max"]


class Thinking(Struct, kw_only=True):
    """Whether the model reasons."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    display: str | None = None


class OutputFormat(Struct, kw_only=True):
    """The schema that the answer is held to."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct, kw_only=True):
    """Settings of the answer."""

    effort: Effort | None = None
    format: OutputFormat | None = None


class Thread(Struct, kw_only=True):
    """Whether the server keeps the conversation, and which one it continues."""

    type: Literal["create", "continue"]
    previous_message_id: str | None = None


class Compaction(Struct, kw_only=True):
    """That the answer is the summary of the conversation, and how it is asked for."""

    type: Literal["summarize"]
    instructions: str | None = None

    @property
    def order(self) -> str:
        """What the model is asked."""
        return (self.instructions or "").strip() or SUMMARY_ORDER


class PromptBody(Struct, kw_only=True):
    """What a prompt is made of."""

    model: Annotated[str, Meta(min_length=1)]
    messages: list[Any]
    system: Any = None
    tools: list[ToolEntry] | None = None
    tool_choice: ChoiceOfTool | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    mcp_servers: list[mcp.McpServer] | None = None

    @property
    def servers(self) -> list[AskedServer]:
        """The MCP servers. Raise :class:`InvalidRequestError` for what is malformed in them."""
        return mcp.asked_servers(self.mcp_servers or (), self.tools or ())

    @property
    def tool_names(self) -> list[str]:
        """The names of the client's own tools."""
        return [tool.name for tool in offered(self.tools or (), [])]

    def conversation(self) -> Conversation:
        """Return the conversation. Raise :class:`InvalidRequestError` for what is malformed in it."""
        return read_conversation(self.system, self.messages)

    def chat(
        self, conversation: Conversation, ignored: list[str], served: Mapping[str, McpTool] | None = None
    ) -> ChatRequest:
        """Return the chat.

        Parameters:
            served: tools of MCP servers, by the model's names.
            ignored: takes the paths of tools that are not offered to the model.

        Raises:
            InvalidRequestError: something in its tools is malformed.
        """
        given = offered(self.tools or (), ignored)
        given += [tool.definition for tool in (served or {}).values()]
        return ChatRequest(
            messages=conversation.messages,
            tools=given,
            tool_choice=choice_among(given, self.tool_choice),
            parallel_tool_calls=not (self.tool_choice and self.tool_choice.disable_parallel_tool_use),
            continue_last=conversation.continues,
        )

    def config_for(self, instance: Instance, conversation: Conversation, ignored: list[str]) -> PredictionConfig:
        """Return the settings that decide on the prompt.

        Parameters:
            ignored: takes the paths of settings that have no effect on a model that does not reason.
        """
        config = PredictionConfig()
        reasons = instance.vocabulary.reasons
        output = self.output_config or OutputConfig()
        if (form := output.format or self.output_format) is not None:
            config.structured = StructuredSetting(type="json", json_schema=form.schema)
        if reasons:
            config.reasoning_effort = output.effort
        elif output.effort is not None:
            ignored.append("output_config.effort")
        thinking = self.thinking
        if thinking is None:
            return config
        if thinking.type == "disabled" or (thinking.type == "between_tools" and not conversation.after_result):
            config.enable_thinking = False
        elif reasons:
            config.enable_thinking = True
            if thinking.type == "enabled":
                config.reasoning_budget = thinking.budget_tokens
        else:
            ignored.append("thinking")
        return config


class MessagesBody(PromptBody, kw_only=True):
    """The body of a request for a message."""

    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    stop_sequences: list[Annotated[str, Meta(min_length=1)]] | None = None
    stream: bool = False
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    context_management: Any = None
    thread: Thread | None = None
    compaction: Compaction | None = None

    def chat(
        self, conversation: Conversation, ignored: list[str], served: Mapping[str, McpTool] | None = None
    ) -> ChatRequest:
        """See :meth:`PromptBody.chat`. For a summary, the conversation ends with the order to write it."""
        chat = super().chat(conversation, ignored, served)
        if self.compaction is None:
            return chat
        has_form = self.output_format is not None or (self.output_config is not None and self.output_config.format)
        for name, is_given in (
            ("tool_choice", self.tool_choice is not None and self.tool_choice.type in ("any", "tool")),
            ("output_config.format", has_form),
            ("stop_sequences", self.stop_sequences),
        ):
            if is_given:
                raise wrong(name, "is not possible beside compaction")
        *before, last = chat.messages
        order = [Text(self.compaction.order)]
        if last.role == "user":
            messages = [*before, Message("user", [*last.parts, Text("\n\n"), *order])]
        else:
            messages = [*chat.messages, Message("user", order)]
        return replace(chat, messages=messages, tools=[], tool_choice=None, continue_last=False)

    def config_for(self, instance: Instance, conversation: Conversation, ignored: list[str]) -> PredictionConfig:
        """Return the settings as the host has them; see :meth:`PromptBody.config_for`."""
        config = super().config_for(instance, conversation, ignored)
        config.max_tokens = max(self.max_tokens, 1)
        config.stop_strings = self.stop_sequences
        config.temperature = self.temperature
        config.top_p_sampling = self.top_p
        config.top_k_sampling = self.top_k
        return config


_CACHE = ignored("Prompts are cached by their beginning, without being asked.")
_HEADER = ignored("The client sends it as a header, which has no effect here.")

COUNT_FIELDS: dict[str, Field] = {
    "model": honoured("The key or identifier of a model, or an alias of the server's. An unknown one is an error."),
    "messages": honoured(
        "The conversation: text, images and documents (by their addresses where server.fetch_urls allows it), tool "
        "calls and their results, thinking. A last message of the assistant is continued.",
        whole=True,
    ),
    "system": honoured("The system prompt: a text, or blocks.", whole=True),
    **tools.FIELDS,
    "thinking": honoured("Whether the model reasons; without it, the model's own settings decide."),
    "thinking.type": honoured(
        "enabled, adaptive, disabled, or between_tools: only after the result of a tool. Models that do not reason "
        "have no such setting, and the answer's header names it."
    ),
    "thinking.budget_tokens": honoured("Tokens of reasoning at most, where it is enabled."),
    "thinking.display": honoured("omitted: blocks of thinking come without their text."),
    "thinking.block_binding": ignored("Blocks of thinking are text here, which is bound to nothing."),
    "output_config": honoured("Settings of the answer."),
    "output_config.effort": honoured(
        "How much a model that reasons may: low, medium, high, xhigh, max. Other models have no such setting, "
        "and the answer's header names it."
    ),
    "output_config.format": honoured("The form of the answer."),
    "output_config.format.type": honoured("json_schema."),
    "output_config.format.schema": honoured("The schema that the answer is held to.", whole=True),
    "output_config.task_budget": ignored("A hint of the tokens that are left, which a model may or may not follow."),
    "output_format": honoured("As output_config.format, which has replaced it."),
    "output_format.type": honoured("json_schema."),
    "output_format.schema": honoured("The schema that the answer is held to.", whole=True),
    "cache_control": _CACHE,
    "speed": refused("There is one speed.", "standard"),
    "billing_policy": ignored("Nothing is billed."),
    "compaction": ignored("The count is of the conversation as it was sent."),
    "context_management": ignored("Counts are those of the conversation as it was sent."),
    **mcp.FIELDS,
    "num_ctx": refused("The context length is set when a model is loaded."),
    "betas": _HEADER,
    "user_profile_id": _HEADER,
    "workspace_id": _HEADER,
}

FIELDS: dict[str, Field] = {
    **COUNT_FIELDS,
    "max_tokens": honoured("Generated tokens at most. Required; 0 only reads the prompt into the cache."),
    "stop_sequences": honoured("Texts that end the answer."),
    "stream": honoured("The answer in pieces, as server-sent events."),
    "temperature": honoured("0 for the likeliest token; higher for more variety. Newer clients no longer have it."),
    "top_p": honoured("Sample among the likeliest tokens whose probabilities add up to this."),
    "top_k": honoured("Sample among this many likeliest tokens."),
    "context_management": honoured(
        "No edit is ever applied, and the answer says so: its applied_edits is empty.", whole=True
    ),
    "metadata": ignored("Names the end user to the service; no effect on the answer."),
    "service_tier": ignored("There is one tier."),
    "inference_geo": ignored("Answers are generated on this machine."),
    "container": refused("There is no container for code."),
    "diagnostics": ignored("Asks why a cache was missed; the answer to that may be absent upstream as well."),
    "fallbacks": refused("The model that is named answers, or none.", []),
    "fallback_credit_token": ignored("Nothing is billed."),
    "compaction": honoured("The answer is a summary, one block that stands for all messages before it when sent back."),
    "compaction.type": honoured("summarize."),
    "compaction.instructions": honoured("What the model is asked for in place of the server's own words."),
    "thread": honoured("The conversation is kept under the id of the answer, or continues one that is."),
    "thread.type": honoured("create, or continue: the messages are those that are new, system and tools are absent."),
    "thread.previous_message_id": honoured("The id of an answer in a thread; any one, so that threads branch."),
}
