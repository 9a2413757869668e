"""The input of a response: items as clients send them, in the form in which they are stored, and as messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from ...domain.chat import Message, Part, Text, ToolCall, ToolResult
from ...errors import ConfigError
from ...message_shapes import read_tool_call, with_reasoning_tags
from ..http.attachments import as_given
from ..http.chats import read_entry, summarized
from ..http.fields import wrong
from .responses_items import PREFIXES, Ids, unsealed
from .responses_tools import FREE_TEXT, model_name

ROLES = ("system", "developer", "user", "assistant")

_CALLS = ("function_call", "custom_tool_call")

Placed = tuple[str, dict[str, Any]]
"""An item and its path in the request."""


def own_items(given: Any, ids: Ids) -> list[dict[str, Any]]:
    """Return the items of a request's input, each with a type and an id; references to stored items are kept.

    Raises:
        InvalidRequestError: it is malformed, or an item is of a type that does not exist here.
    """
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise wrong("input", "expected a string, or an array of items")
    return [_item(entry, f"input.{index}", ids) for index, entry in enumerate(cast("list[Any]", given))]


def _item(entry: Any, place: str, ids: Ids) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise wrong(place, "expected an object")
    item = {key: value for key, value in cast("dict[str, Any]", entry).items() if value is not None}
    kind = item.get("type")
    if kind is None:
        if "role" not in item and set(item) == {"id"}:
            return {"type": "item_reference", "id": _text(item, "id", place)}
        kind = item["type"] = "message"
    if kind == "item_reference":
        return {"type": kind, "id": _text(item, "id", place)}
    if not isinstance(kind, str) or kind not in PREFIXES:
        raise wrong(f"{place}.type", f"items of the type {kind!r} do not exist here")
    if not isinstance(item.get("id"), str) or not item["id"]:
        item["id"] = ids.item(kind)
    _CHECKS[kind](item, place)
    return item


def _check_message(item: dict[str, Any], place: str) -> None:
    """Bring a message into the form in which it is listed: its content as parts."""
    item.setdefault("status", "completed")
    is_answer = item.get("role") == "assistant"
    content = item.get("content")
    if isinstance(content, str):
        text = {"type": "output_text" if is_answer else "input_text", "text": content}
        item["content"] = content = [text]
    if content is None:
        raise wrong(f"{place}.content", "missing")
    if not isinstance(content, list):
        raise wrong(f"{place}.content", "expected a string or an array")
    for index, part in enumerate(cast("list[Any]", content)):
        if not isinstance(part, dict):
            raise wrong(f"{place}.content.{index}", "expected an object")
        part = cast("dict[str, Any]", part)
        if part.get("type") == "output_text":
            part.setdefault("annotations", [])
        elif part.get("type") == "input_image":
            _check_image(part, f"{place}.content.{index}")
    _message(item, place)  # raises for what a chat cannot hold


def _check_image(part: dict[str, Any], place: str) -> None:
    if part.get("file_id") is not None:
        raise wrong(f"{place}.file_id", "there are no files here", "Send a data URL.")
    part.setdefault("detail", "auto")


def drop_file_data(items: Sequence[dict[str, Any]]) -> None:
    """Remove the content of documents from the items of an input. Their text stays."""
    for item in items:
        parts: Any = item.get("content") or item.get("output")
        for part in cast("list[Any]", parts) if isinstance(parts, list) else ():
            if part.get("type") == "input_file":
                part.pop("file_data", None)


def _check_call(item: dict[str, Any], place: str) -> None:
    item.setdefault("status", "completed")
    for key in ("call_id", "name", "input" if item["type"] == "custom_tool_call" else "arguments"):
        _text(item, key, place)
    _call(item, place)


def _check_output(item: dict[str, Any], place: str) -> None:
    item.setdefault("status", "completed")
    _text(item, "call_id", place)
    if item.get("output") is None:
        raise wrong(f"{place}.output", "missing")
    _result(item, place, "")


def _check_reasoning(item: dict[str, Any], place: str) -> None:
    item.setdefault("summary", [])
    _thought(item, place)


def _check_tools(item: dict[str, Any], place: str) -> None:
    if not isinstance(item.get("tools"), list):
        raise wrong(f"{place}.tools", "missing" if item.get("tools") is None else "expected an array")


def _check_compaction(item: dict[str, Any], place: str) -> None:
    if not unsealed(_text(item, "encrypted_content", place)):
        raise wrong(f"{place}.encrypted_content", "another server has made it, and only that one can read it")


def _check_listed(item: dict[str, Any], place: str) -> None:
    _text(item, "server_label", place)
    item.setdefault("tools", [])


def _check_mcp_call(item: dict[str, Any], place: str) -> None:
    for key in ("server_label", "name", "arguments"):
        _text(item, key, place)
    if item["type"] == "mcp_call":
        item.setdefault("status", "completed")
        for key in ("output", "approval_request_id"):
            if item.get(key) is not None:
                _text(item, key, place)
    _mcp_call(item, place, item["id"])


def _check_approval(item: dict[str, Any], place: str) -> None:
    _text(item, "approval_request_id", place)
    if not isinstance(item.get("approve"), bool):
        raise wrong(f"{place}.approve", "missing" if item.get("approve") is None else "expected a boolean")


_CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "message": _check_message,
    "reasoning": _check_reasoning,
    "function_call": _check_call,
    "function_call_output": _check_output,
    "custom_tool_call": _check_call,
    "custom_tool_call_output": _check_output,
    "additional_tools": _check_tools,
    "compaction": _check_compaction,
    "mcp_list_tools": _check_listed,
    "mcp_call": _check_mcp_call,
    "mcp_approval_request": _check_mcp_call,
    "mcp_approval_response": _check_approval,
}


def messages_of(items: Sequence[Placed]) -> list[Message]:
    """Return the messages of a chat that says the same as ``items``.

    What a model says at once, its reasoning, text and calls, is one message. Images in the outputs of tools follow
    them as a message of the user: no template has images in the results of tools.
    """
    messages: list[Message] = []
    turn: list[Part] = []
    made: list[Part] = []
    is_open = False
    seen: list[Part] = []
    names = {item["call_id"]: item["name"] for _, item in items if item["type"] in _CALLS}
    requests = {item["id"]: item for _, item in items if item["type"] == "mcp_approval_request"}

    def end_turn() -> None:
        nonlocal turn, is_open
        if turn:
            messages.append(Message("assistant", turn))
        if made:
            messages.append(Message("tool", list(made)))
            made.clear()
        turn, is_open = [], False

    for place, item in items:
        if made and item["type"] != "mcp_call":
            end_turn()
        if seen and not item["type"].endswith("_output"):  # after all results of one turn
            messages.append(Message("user", seen))
            seen = []
        match item["type"]:
            case "message" if item["role"] == "assistant":
                if not is_open:
                    end_turn()
                (said,) = _message(item, place)
                turn += said.parts
                is_open = False
            case "message":
                end_turn()
                messages += _message(item, place)
            case "reasoning":
                end_turn()
                if thought := _thought(item, place):
                    turn.append(Text(with_reasoning_tags(thought)))
                is_open = True
            case "function_call" | "custom_tool_call":
                turn.append(_call(item, place))
            case "function_call_output" | "custom_tool_call_output":
                end_turn()
                result, pictures = _result(item, place, names.get(item["call_id"], ""))
                messages.append(Message("tool", [result]))
                seen += pictures
            case "mcp_call":
                turn.append(_mcp_call(item, place, item["id"]))
                is_open = False
                made.append(ToolResult(mcp_result(item), item["id"], item["name"]))
            case "mcp_approval_response" if not item["approve"] and item["approval_request_id"] in requests:
                asked = requests[item["approval_request_id"]]
                end_turn()
                reason = f": {item['reason']}" if item.get("reason") else "."
                denied = ToolResult(f"Error: The user has denied the call{reason}", asked["id"], asked["name"])
                messages += [
                    Message("assistant", [_mcp_call(asked, place, asked["id"])]),
                    Message("tool", [denied]),
                ]
            case "compaction":
                end_turn()
                summary = unsealed(item["encrypted_content"])
                messages.append(summarized(summary))
            case _:
                pass
    end_turn()
    if seen:
        messages.append(Message("user", seen))
    return messages


def _message(item: dict[str, Any], place: str) -> list[Message]:
    content: list[dict[str, Any]] = item["content"]
    parts = [{k: v for k, v in part.items() if k not in ("annotations", "logprobs")} for part in content]
    return read_entry({"role": item.get("role"), "content": parts}, ROLES, place)


def _call(item: dict[str, Any], place: str) -> Part:
    name = model_name(item["name"], item.get("namespace"))
    if item["type"] == "custom_tool_call":
        return ToolCall(name, {FREE_TEXT: item["input"]}, item["call_id"])
    value = {"name": name, "arguments": item["arguments"], "id": item["call_id"]}
    try:
        return read_tool_call(value, place)
    except ConfigError as error:
        if item["status"] == "incomplete":  # it was cut off, and is no call
            return Text(item["arguments"])
        raise wrong(f"{place}.arguments", error.cause or "expected an object as JSON text") from None


def _mcp_call(item: dict[str, Any], place: str, call_id: str) -> ToolCall:
    try:
        return read_tool_call({"name": item["name"], "arguments": item["arguments"], "id": call_id}, place)
    except ConfigError as error:
        raise wrong(f"{place}.arguments", error.cause or "expected an object as JSON text") from None


def read_arguments(item: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the arguments of a call of a tool of an MCP server."""
    return _mcp_call(item, place, item["id"]).arguments or {}


def mcp_result(item: dict[str, Any]) -> str:
    """Return what a call of a tool of an MCP server has returned, as the model is given it."""
    if (error := item.get("error")) is not None:
        shown = error if isinstance(error, str) else msgspec.json.encode(error).decode()
        return f"Error: {shown}"
    return str(item.get("output") or "")


def _result(item: dict[str, Any], place: str, name: str) -> tuple[ToolResult, list[Part]]:
    """Return the output of a call, and the images in it."""
    output = item["output"]
    images: list[Part] = []
    if not isinstance(output, str):
        if not isinstance(output, list):
            raise wrong(f"{place}.output", "expected a string or an array")
        texts: list[str] = []
        for index, part in enumerate(cast("list[Any]", output)):
            where = f"{place}.output.{index}"
            if isinstance(part, dict) and cast("dict[str, Any]", part).get("type") == "input_image":
                _check_image(cast("dict[str, Any]", part), where)
                (message,) = read_entry({"role": "user", "content": [part]}, ROLES, where)
                images += message.parts
            else:
                texts.append(_part_text(as_given(part), "input_text", where))
        output = "".join(texts)
    return ToolResult(output, item["call_id"], name or None), images


def _thought(item: dict[str, Any], place: str) -> str:
    for key, kind in (("content", "reasoning_text"), ("summary", "summary_text")):
        parts: Any = item.get(key) or []
        if not isinstance(parts, list):
            raise wrong(f"{place}.{key}", "expected an array")
        numbered = enumerate(cast("list[Any]", parts))
        text = "\n".join(_part_text(part, kind, f"{place}.{key}.{i}") for i, part in numbered)
        if text:
            return text
    content = item.get("encrypted_content")
    return unsealed(content) if isinstance(content, str) else ""


def _part_text(part: Any, kind: str, place: str) -> str:
    if not isinstance(part, dict):
        raise wrong(place, "expected an object")
    fields = cast("dict[str, Any]", part)
    if fields.get("type") not in (kind, "text", "output_text"):
        raise wrong(f"{place}.type", f"expected {kind!r}, got {fields.get('type')!r}")
    return _text(fields, "text", place)


def _text(item: dict[str, Any], key: str, place: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise wrong(f"{place}.{key}", "missing" if value is None else "expected a string")
    return value
