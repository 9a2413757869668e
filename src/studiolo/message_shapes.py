"""Messages as other programs write them: OpenAI's, Anthropic's and LM Studio's shapes, as the domain's messages.

A message is taken whole or refused with its position: what it says is never dropped. Keys that say nothing about the
conversation (``name``, ``id``, ``usage``, an empty ``refusal``) are ignored.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast, get_args

from .domain.chat import Audio, File, FileType, Image, Message, Part, Role, Text, ToolCall, ToolResult
from .errors import ConfigError
from .plain_values import fields_of, is_array, plain

_ROLES: dict[Any, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_CONTENTS: dict[Role, str] = {
    "system": "system prompt",
    "user": "user message content",
    "assistant": "assistant response content",
    "tool": "tool result",
}
_ALLOWED: dict[Role, tuple[type[Part], ...]] = {
    "system": (Text, File),
    "user": (Text, File, Image, Audio, ToolResult),
    "assistant": (Text, File, ToolCall),
    "tool": (ToolResult,),
}
_IGNORED = frozenset(
    {
        *("id", "name", "model", "status", "phase", "index", "cache_control", "container", "usage", "signature"),
        *("stop_reason", "stop_sequence", "stop_details", "created_at", "detail", "caller"),
    }
)
"""Keys of messages and parts that say nothing about the conversation."""

_AUDIO_FORMATS = ("wav", "mp3", "flac")
"""The formats that OpenAI's ``input_audio`` may name: its own two, and FLAC."""

_REASONING = ("reasoning_content", "reasoning", "thinking")
_SNAKE_CASE = {
    "fileType": "file_type",
    "sizeBytes": "size_bytes",
    "toolCallId": "tool_call_id",
    "toolCallRequest": "tool_call_request",
}


def read_history(history: Mapping[str, Any], where: str = "") -> list[Message]:
    """Return the messages of a dict with ``messages`` and, as in Anthropic's requests, ``system``.

    Raises:
        ConfigError: a message is malformed, or says what a chat cannot hold; the error names its position.
    """
    fields = dict(history)
    entries, system = fields.pop("messages", None), fields.pop("system", None)
    _nothing_else(fields, where or "the chat", "chat")
    found = read_message({"role": "system", "content": system}, f"{where}system") if system else []
    return found + read_messages(entries, f"{where}messages")


def read_messages(entries: Any, where: str) -> list[Message]:
    """Return the messages of a list; see :func:`read_history`."""
    if isinstance(entries, str | bytes | Mapping) or not isinstance(entries, Iterable):
        raise ConfigError(f"{where} is of type {type(cast('object', entries)).__name__}, not a list of messages")
    numbered = enumerate(cast("Iterable[Any]", entries))
    return [message for index, entry in numbered for message in read_message(entry, f"{where}[{index}]")]


def read_message(entry: Any, where: str) -> list[Message]:
    """Return a message: a dict, an object with such fields, or a pair of role and content.

    Results of tools in a user's message, as in Anthropic's shape, become messages of their own.
    """
    if isinstance(entry, tuple | list) and len(cast("list[Any]", entry)) == 2:
        fields: dict[str, Any] | None = dict(zip(("role", "content"), cast("list[Any]", entry), strict=True))
    else:
        fields = fields_of(entry)
    if fields is None or not {"role", "content"} & fields.keys():
        raise ConfigError(
            f"{where} is not a valid chat entry: {entry!r:.200}",
            suggestion="A message is a dict with 'role' and 'content', or a pair of both.",
        )
    fields = _snake_case(fields)
    role = read_role(fields.pop("role", None), where)
    kind = _CONTENTS[role]
    if fields.pop("type", "message") != "message":
        raise ConfigError(f"Unable to parse {kind}: {where}.type is not 'message'")
    content = fields.pop("content", None)
    if role == "tool":
        parts: list[Part] = list(_tool_results(content, fields, where))
    else:
        parts = _thoughts(fields, where) if role == "assistant" else []
        said = parts or any(_says(fields.get(key)) for key in ("tool_calls", "refusal"))
        if content is None and not said:
            raise ConfigError(f"{where} is not a valid chat entry: it has no content")
        if content is not None:
            parts += read_parts(role, content, f"{where}.content")
        if role == "assistant":
            if _says(refusal := fields.pop("refusal", None)):
                parts.append(Text(_text(refusal, f"{where}.refusal", kind)))
            calls: Any = fields.pop("tool_calls", None) or []
            if not isinstance(calls, list | tuple):
                raise ConfigError(f"Unable to parse {kind}: {where}.tool_calls is not a list")
            numbered = enumerate(cast("list[Any]", calls))
            parts += [read_tool_call(call, f"{where}.tool_calls[{index}]") for index, call in numbered]
    _nothing_else(fields, where, kind)
    return _by_role(role, parts)


def read_role(role: Any, where: str) -> Role:
    """Return the role of a name. OpenAI's ``developer`` is the system."""
    name = plain(role) if isinstance(role, str) else None
    if name not in _ROLES:
        raise ConfigError(
            f"Unknown history role: {role!r}",
            cause=f"It is the role of {where}." if where else None,
            suggestion="The roles are system, user, assistant and tool.",
        )
    return _ROLES[name]


def read_parts(role: Role, content: Any, where: str) -> list[Part]:
    """Return the parts of a content: a text, a part, or several of both."""
    if is_one_part(content):
        return [_part(role, content, where)]
    return [_part(role, item, f"{where}[{index}]") for index, item in enumerate(content)]


def is_one_part(content: Any) -> bool:
    """Return whether ``content`` is one part of a message, not several."""
    if isinstance(content, str | bytes | Mapping) or not isinstance(content, Iterable):
        return True
    return not isinstance(content, list | tuple) and not is_array(content) and fields_of(content) is not None


def read_tool_call(value: Any, where: str) -> ToolCall:
    """Return a call of a tool: ``{"name", "arguments", "id"}``, OpenAI's or Anthropic's."""
    kind = "tool call request content"
    fields = _snake_case(fields_of(value) or {})
    fields.pop("type", None)
    call_id = fields.pop("id", None)
    inner = fields.pop("tool_call_request", None) or fields.pop("function", None)
    if inner is not None:
        _nothing_else(fields, where, kind)
        fields = _snake_case(fields_of(inner) or {})
        call_id = fields.pop("id", call_id)
        fields.pop("type", None)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"Unable to parse {kind}: {where} has no name: {value!r:.200}")
    given = fields.pop("arguments", fields.pop("input", None))
    _nothing_else(fields, where, kind)
    label = f"{where} (a call of {str(name)!r})"
    return ToolCall(_text(name, where, kind), _arguments(given, label), _id(call_id, f"{where}.id", kind))


def read_tool_result(value: Any, where: str) -> ToolResult:
    """Return a result of a tool: ``{"content", "toolCallId"}``, or Anthropic's."""
    fields = _snake_case(fields_of(value) or {})
    kind = _CONTENTS["tool"]
    is_result = fields.pop("type", "toolCallResult") in ("toolCallResult", "tool_result")
    if not is_result or not fields.keys() & {"content", "tool_use_id"}:  # Anthropic's may have no content
        raise ConfigError(f"Unable to parse {kind}: {where} is not a result: {value!r:.200}")
    return _result(fields.pop("content", ""), fields, where)


def _part(role: Role, value: Any, where: str) -> Part:
    kind = _CONTENTS[role]
    part = _read_part(role, value, where, kind)
    if not isinstance(part, _ALLOWED[role]):
        raise ConfigError(
            f"Unable to parse {kind}: {where} is a part of another kind ({type(part).__name__})",
            cause=f"A message of the role {role!r} cannot hold it.",
        )
    return part


def _read_part(role: Role, value: Any, where: str, kind: str) -> Part:
    if isinstance(value, str):
        return Text(_text(value, where, kind))
    fields = _snake_case(fields_of(value) or {})
    name = fields.get("type")
    match name:
        case "text" | "input_text" | "output_text":
            part: Part = Text(_text(fields.pop("text", None), f"{where}.text", kind))
            fields.pop("citations", None)
        case "refusal":
            part = Text(_text(fields.pop("refusal", None), f"{where}.refusal", kind))
        case "thinking" | "reasoning":
            key = next((key for key in ("thinking", "text", "reasoning") if key in fields), "thinking")
            part = Text(with_reasoning_tags(_text(fields.pop(key, None), f"{where}.{key}", kind)))
        case "image_url" | "input_image" | "image":
            return _image(fields, where, kind)
        case "input_audio":
            return _audio(fields, where, kind)
        case "toolCallRequest" | "tool_use" | "function":
            return read_tool_call(value, where)
        case "toolCallResult" | "tool_result":
            return read_tool_result(value, where)
        case "file" if "identifier" in fields:
            return _file(fields, where, kind)
        case None if "text" in fields:
            part = Text(_text(fields.pop("text"), f"{where}.text", kind))
        case None if "identifier" in fields:
            return _file(fields, where, kind)
        case None if "name" in fields and role == "assistant":
            return read_tool_call(value, where)
        case None:
            raise ConfigError(
                f"Unable to parse {kind}: {where} is of type {type(value).__name__}, not text or a part of a message"
            )
        case _:
            raise ConfigError(f"Unable to parse {kind}: {where} is a part of type {name!r}, which a chat cannot hold")
    fields.pop("type", None)
    _nothing_else(fields, where, kind)
    return part


def with_reasoning_tags(thought: str) -> str:
    """Return reasoning as text of an answer, as models write it."""
    return f"<think>\n{thought}\n</think>\n\n"


def _thoughts(fields: dict[str, Any], where: str) -> list[Part]:
    """Return the reasoning beside a content. Programs that give it under several names repeat it."""
    thoughts = {key: fields.pop(key) for key in _REASONING if _says(fields.get(key))}
    for key in _REASONING:
        fields.pop(key, None)
    fields.pop("reasoning_details", None) if thoughts else None
    found = list(dict.fromkeys(_text(each, f"{where}.{key}", _CONTENTS["assistant"]) for key, each in thoughts.items()))
    return [Text(with_reasoning_tags(thought)) for thought in found]


def _tool_results(content: Any, fields: dict[str, Any], where: str) -> list[ToolResult]:
    """Return the results of a message of the role ``tool``: LM Studio's list, or OpenAI's one text."""
    if not is_one_part(content):
        content = list(content)
        kinds = [(fields_of(item) or {}).get("type") for item in content]
        if not any(kind in ("text", "output_text") for kind in kinds) and not any(
            isinstance(item, str) for item in content
        ):
            return [read_tool_result(item, f"{where}.content[{index}]") for index, item in enumerate(content)]
    elif not isinstance(content, str):
        return [read_tool_result(content, f"{where}.content")]
    other_name = fields.pop("tool_name", None)
    name = fields.pop("name", other_name)
    call_id = fields.pop("tool_call_id", None)
    return [_result(content, {"tool_call_id": call_id, "name": name}, where)]


def _result(content: Any, fields: dict[str, Any], where: str) -> ToolResult:
    kind = _CONTENTS["tool"]
    other_id = fields.pop("tool_use_id", None)
    call_id = fields.pop("tool_call_id", other_id)
    name = fields.pop("name", None)
    items = [] if content is None else [content] if is_one_part(content) else list(content)
    for index, item in enumerate(items):
        if (said := (fields_of(item) or {}).get("type", "text")) not in ("text", "input_text", "output_text"):
            raise ConfigError(f"Unable to parse {kind}: {where}.content[{index}] is of the type {said!r}, not text")
    text = "".join(part.text for part in read_parts("system", items, f"{where}.content") if isinstance(part, Text))
    if fields.pop("is_error", False):
        text = f"Error: {text}"
    _nothing_else(fields, where, kind)
    return ToolResult(
        text, _id(call_id, f"{where}.tool_call_id", kind), None if name is None else _text(name, where, kind)
    )


def _image(fields: dict[str, Any], where: str, kind: str) -> Image:
    if fields.pop("type") == "image":
        source = fields_of(fields.pop("source", None)) or {}
        url = source.get("url") if source.get("type") == "url" else None
        media, data = source.get("media_type"), source.get("data")
    else:
        url = fields.pop("image_url", None)
        url = (fields_of(url) or {}).get("url") if not isinstance(url, str) else url
        header, _, encoded = url.partition(",") if isinstance(url, str) else ("", "", "")
        match = re.fullmatch(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=-]+)*;base64", header)
        media, data = (match[1], encoded) if match else (None, None)
    _nothing_else(fields, where, kind)
    if not isinstance(media, str) or not isinstance(data, str):
        _refuse_image(where, kind, url)
    return Image(_decoded(data, f"the image at {where}", kind), f"image.{media.rpartition('/')[2]}")


def _audio(fields: dict[str, Any], where: str, kind: str) -> Audio:
    inner = fields_of(fields.pop("input_audio", None)) or {}
    fields.pop("type")
    data, form = inner.pop("data", None), inner.pop("format", None)
    _nothing_else({**fields, **inner}, where, kind)
    if form not in _AUDIO_FORMATS or not isinstance(data, str):
        what = f"has the format {form!r}" if isinstance(data, str) else "has no data in base64"
        raise ConfigError(
            f"Unable to parse {kind}: the audio at {where} {what}",
            suggestion="Pass wav, mp3 or flac in base64, or a handle that prepare_audio() returned.",
        )
    return Audio(_decoded(data, f"the audio at {where}", kind), f"audio.{form}")


def _decoded(data: str, what: str, kind: str) -> bytes:
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"Unable to parse {kind}: {what} is not base64", cause=str(error)) from None


def _refuse_image(where: str, kind: str, url: Any) -> NoReturn:
    is_remote = isinstance(url, str) and not url.startswith("data:")
    raise ConfigError(
        f"Unable to parse {kind}: the image at {where} {'is on the network' if is_remote else 'has no data in base64'}",
        suggestion="Pass its bytes: a data URL in base64, or a handle that prepare_image() returned.",
    )


def _file(fields: dict[str, Any], where: str, kind: str) -> File:
    fields.pop("type", None)
    name, identifier, size, file_type = (
        fields.pop(key, None) for key in ("name", "identifier", "size_bytes", "file_type")
    )
    if type(size) is not int or file_type not in get_args(FileType):
        raise ConfigError(
            f"Unable to parse {kind}: {where} is not a FileHandle",
            cause="Its sizeBytes or fileType is missing or wrong.",
        )
    _nothing_else(fields, where, kind)
    return File(
        identifier=_text(identifier, f"{where}.identifier", kind),
        name=_text(name, f"{where}.name", kind),
        size_bytes=size,
        file_type=file_type,
    )


def _arguments(given: Any, where: str) -> dict[str, Any] | None:
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except ValueError as error:
            raise ConfigError(
                f"Unable to parse tool call request content: the arguments of {where} are not JSON", cause=str(error)
            ) from None
    fields = fields_of(given)
    if fields is None:
        raise ConfigError(f"Unable to parse tool call request content: the arguments of {where} are not an object")
    try:
        return cast("dict[str, Any]", plain(fields))
    except (TypeError, RecursionError) as error:
        raise ConfigError(
            f"Unable to parse tool call request content: the arguments of {where} are not JSON", cause=str(error)
        ) from None


def _by_role(role: Role, parts: list[Part]) -> list[Message]:
    if role != "user" or not any(isinstance(part, ToolResult) for part in parts):
        return [Message(role, parts)]
    runs = itertools.groupby(parts, lambda part: isinstance(part, ToolResult))
    return [Message("tool" if are_results else "user", list(run)) for are_results, run in runs]


def _text(value: Any, where: str, kind: str) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    what = "None" if value is None else f"of type {type(value).__name__}"
    raise ConfigError(f"Unable to parse {kind}: {where} is {what}, not text")


def _id(value: Any, where: str, kind: str) -> str | None:
    return None if value is None else _text(value, where, kind)


def _snake_case(fields: dict[str, Any]) -> dict[str, Any]:
    return {_SNAKE_CASE.get(key, key): value for key, value in fields.items()}


def _says(value: Any) -> bool:
    return value is not None and value is not False and value != "" and value != [] and value != {}


def _nothing_else(fields: Mapping[str, Any], where: str, kind: str) -> None:
    """Raise :class:`ConfigError` if a key that is left says something."""
    for key, value in fields.items():
        if key not in _IGNORED and _says(value):
            raise ConfigError(
                f"Unable to parse {kind}: {where} has the key {key!r}, which a chat cannot hold",
                suggestion="Leave it out, or say it in the message's content.",
            )
