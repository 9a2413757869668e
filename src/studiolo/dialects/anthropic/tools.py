"""Tools in Anthropic's form, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...domain.chat import NamedTool, Tool, ToolChoice
from ..http.chats import check_tool_names, chosen
from ..http.fields import Field, honoured, ignored, refused, wrong
from .client_tools import client_tool

TOOLSET = "mcp_toolset"
"""The type of an entry that stands for the tools of an MCP server."""


class ToolEntry(Struct, kw_only=True):
    """A tool of the client, or the name of one that Anthropic has."""

    name: str | None = None
    type: str = "custom"
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    input_examples: list[dict[str, Any]] | None = None
    allowed_callers: list[str] | None = None
    mcp_server_name: str | None = None
    default_config: dict[str, Any] | None = None
    configs: dict[str, Any] | None = None


class ChoiceOfTool(Struct, kw_only=True):
    """Whether a tool may or must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: Annotated[str, Meta(min_length=1)] | None = None
    disable_parallel_tool_use: bool = False


def offered(entries: Sequence[ToolEntry], ignored: list[str]) -> list[Tool]:
    """Return the tools that the model may call: those that the client runs, for calls by itself.

    Parameters:
        ignored: takes the paths of the others.

    Raises:
        InvalidRequestError: one of them is malformed.
    """
    tools: list[Tool] = []
    for index, entry in enumerate(entries):
        if entry.type == TOOLSET:
            continue
        if entry.type != "custom":
            if (tool := client_tool(entry.type, entry.name)) is None:
                ignored.append(f"tools.{index}")
            else:
                tools.append(tool)
            continue
        if not entry.name:
            raise wrong(f"tools.{index}.name", "missing")
        if entry.input_schema is None:
            raise wrong(f"tools.{index}.input_schema", "missing")
        if entry.allowed_callers is not None and "direct" not in entry.allowed_callers:
            ignored.append(f"tools.{index}")
            continue
        schema = entry.input_schema
        if entry.input_examples:
            schema = {**schema, "examples": entry.input_examples}
        tools.append(Tool(entry.name, entry.description, schema))
    check_tool_names(tools)
    return tools


def choice_among(tools: Sequence[Tool], choice: ChoiceOfTool | None) -> ToolChoice | None:
    """Return whether a tool may or must be called. Raise :class:`InvalidRequestError` if it is not among ``tools``."""
    if choice is None:
        return None
    if choice.type == "tool":
        if choice.name is None:
            raise wrong("tool_choice.name", "missing")
        return chosen(tools, NamedTool(choice.name), "tool_choice.name")
    if choice.type == "any":
        return chosen(tools, "required")
    return choice.type


_HOSTED = ignored(
    "Belongs to a tool that Anthropic runs or that needs its models; the answer's header names such tools."
)

FIELDS: dict[str, Field] = {
    "tools": honoured("Tools that the model may call; those that Anthropic runs (web_search, say) are not offered."),
    "tools.name": honoured("Its name."),
    "tools.type": honoured(
        "custom, the default; bash, text_editor and memory of any version; mcp_toolset. Others are not offered."
    ),
    "tools.description": honoured("What it is for."),
    "tools.input_schema": honoured("The JSON schema of its input.", whole=True),
    "tools.input_examples": honoured("The model sees them as examples in the schema.", whole=True),
    "tools.allowed_callers": honoured("A tool that only code may call is not offered."),
    "tools.mcp_server_name": honoured("Of a mcp_toolset: the server of mcp_servers whose tools these are."),
    "tools.default_config": honoured("Of a mcp_toolset: enabled; defer_loading has no effect.", whole=True),
    "tools.configs": honoured("Of a mcp_toolset: the same for single tools.", whole=True),
    "tools.tools": refused("The server is asked for its tools: leave the list out."),
    "tools.strict": ignored("Inputs are held to the schema in any case, as far as the model's format allows."),
    "tools.cache_control": ignored("Prompts are cached by their beginning, without being asked."),
    "tools.defer_loading": ignored("Every tool is offered from the beginning: there is no search for tools."),
    "tools.eager_input_streaming": ignored("Inputs are always streamed as they are generated."),
    **{
        f"tools.{name}": _HOSTED
        for name in (
            *("allowed_domains", "blocked_domains", "caching", "citations"),
            *("display_height_px", "display_number", "display_width_px", "enable_zoom", "max_characters"),
            *("max_content_tokens", "max_tokens", "max_uses", "model", "response_inclusion"),
            *("url_sources", "use_cache", "user_location"),
        )
    },
    "tool_choice": honoured("Whether a tool may or must be called."),
    "tool_choice.type": honoured("auto, any, tool or none."),
    "tool_choice.name": honoured("The tool that must be called."),
    "tool_choice.disable_parallel_tool_use": honoured("true: one call at most."),
}
