"""Chats: the messages of a conversation, in the host's form."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast, runtime_checkable

from ..domain.chat import Part, Role, Text
from ..errors import ConfigError, UsageError
from ..message_shapes import (
    is_one_part,
    read_history,
    read_message,
    read_messages,
    read_parts,
    read_role,
    read_tool_call,
    read_tool_result,
)
from ..protocol.chat import (
    AnyChatMessage,
    AssistantResponse,
    ChatHistoryData,
    FileHandle,
    SystemPrompt,
    TextData,
    ToolCallRequest,
    ToolCallRequestData,
    ToolCallResultData,
    ToolResultMessage,
    UserMessage,
)
from .arguments import items, many, wrong_type
from .chat_parts import message_of, part_of

# LM Studio's names for the types of its functions' parameters.
AnyChatMessageDict: TypeAlias = Mapping[str, Any]
ChatHistoryDataDict: TypeAlias = Mapping[str, Any]
FileHandleDict: TypeAlias = Mapping[str, Any]
TextDataDict: TypeAlias = Mapping[str, Any]
UserMessageDict: TypeAlias = Mapping[str, Any]
FileHandleInput: TypeAlias = FileHandle | FileHandleDict
SystemPromptContent: TypeAlias = TextData
UserMessageContent: TypeAlias = TextData | FileHandle
AssistantResponseContent: TypeAlias = TextData | FileHandle

SystemPromptInput: TypeAlias = str | TextData | TextDataDict
UserMessageInput: TypeAlias = str | TextData | FileHandle | Mapping[str, Any]
ToolCallRequestInput: TypeAlias = ToolCallRequest | ToolCallRequestData | Mapping[str, Any]
ToolCallResultInput: TypeAlias = ToolCallResultData | Mapping[str, Any]


@runtime_checkable
class ServerResponse(Protocol):
    """An answer of the host: a prediction's result."""

    @property
    def content(self) -> str: ...
    @property
    def stats(self) -> Any: ...


AssistantResponseInput: TypeAlias = str | TextData | FileHandle | Mapping[str, Any] | ServerResponse
AnyChatMessageInput: TypeAlias = Any  # the argument of the role's own method, or an iterable of its parts

M = TypeVar("M", SystemPrompt, UserMessage, AssistantResponse, ToolResultMessage)


class Chat:
    """The messages of a conversation: the argument of ``respond``.

    Parameters:
        initial_prompt: the system prompt.

    The ``add_`` methods return the message as it stands in the chat: a user's message grows when the next one extends
    it. What they are given is copied.
    """

    def __init__(
        self, initial_prompt: SystemPromptInput | None = None, *, _initial_history: ChatHistoryData | None = None
    ) -> None:
        if _initial_history is not None and initial_prompt is not None:
            raise ConfigError("A chat takes an initial history or a system prompt, not both")
        self._history = ChatHistoryData(messages=[]) if _initial_history is None else _initial_history
        if initial_prompt is not None:
            self._add("system", _system_parts(initial_prompt, "initial_prompt"))

    def __str__(self) -> str:
        return f"{type(self).__name__}.from_history({json.dumps(self._get_history(), indent=2, sort_keys=True)})"

    def _get_history(self) -> dict[str, Any]:
        """Return the chat in its wire form."""
        return self._history.to_dict()

    def _get_history_for_prediction(self) -> dict[str, Any]:
        return self._get_history()

    def history_data(self) -> ChatHistoryData:
        """Return a copy of the messages."""
        return copy.deepcopy(self._history)

    def to_dict(self) -> dict[str, Any]:
        """Return the chat as a dict for JSON, from which :meth:`from_dict` makes the same chat."""
        return self._history.to_dict()

    @classmethod
    def from_dict(cls, data: ChatHistoryDataDict) -> Self:
        """Return the chat of a dict, as :meth:`to_dict` returns it. Raise :class:`ConfigError` if it is malformed."""
        if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong_type(data, "data", "a dict with a list of messages under 'messages'")
        return cls.from_history(data)

    @classmethod
    def from_history(cls, history: HistoryInput) -> Self:
        """Return a new chat with the messages of ``history``: the same messages with the same parts, in their order.

        Parameters:
            history: another chat; a text, which is one user message; a list of messages; or a dict,
                ``{"messages": [{"role": "user", "content": "hi"}]}``. The messages have LM Studio's shape, OpenAI's
                (``tool_calls``, ``tool_call_id``, ``image_url`` with a data URL, the role ``developer``) or
                Anthropic's (``tool_use``, ``tool_result``, ``thinking``, ``system`` beside the messages).

        Raises:
            ConfigError: it is none of these, or a message is malformed or says what a chat cannot hold; the error
                names its position.
        """
        if isinstance(history, Chat):
            return cls(_initial_history=history.history_data())
        if isinstance(history, str):
            chat = cls()
            chat.add_user_message(history)
            return chat
        if isinstance(history, Mapping | ChatHistoryData):
            fields = history if isinstance(history, Mapping) else {"messages": history.messages}
            if not isinstance(fields.get("messages"), str | Mapping | None):
                read = read_history(fields)
                return cls(_initial_history=ChatHistoryData(messages=[message_of(m.role, m.parts) for m in read]))
        elif isinstance(history, list | tuple) and history:
            return cls.from_history({"messages": history})
        raise ConfigError(
            f"A chat cannot be made from {history!r:.200}",
            suggestion="Pass a text, a Chat, a list of messages, or a dict with such a list under 'messages'.",
        )

    def copy(self) -> Self:
        """Return a copy; changes to one do not affect the other."""
        return type(self).from_history(self)

    __copy__ = copy

    def __deepcopy__(self, _memo: object) -> Self:
        return self.copy()

    def add_entry(self, role: str, content: AnyChatMessageInput) -> AnyChatMessage:
        """Add a message of a role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.

        Parameters:
            role: the author of the message. OpenAI's ``"developer"`` is the system.
            content: the argument of the role's own method, or a list of its parts. An assistant's text and tool calls
                may be one list.

        Raises:
            ConfigError: there is no such role, or the content is not of its kind.
        """
        known = read_role(role, "")
        if known == "tool":
            return self.add_tool_results(content)
        if known == "system" and not isinstance(content, list | tuple):
            return self.add_system_prompt(content)
        parts = _parts(known, content)
        if not parts and known != "user":
            raise ConfigError("Unable to parse message content: it has no parts")
        return self._add(known, parts)

    def add_entries(
        self, entries: Iterable[AnyChatMessage | Mapping[str, Any] | tuple[str, Any]]
    ) -> list[AnyChatMessage]:
        """Add messages, dicts with ``role`` and ``content``, or pairs of both. Raise :class:`ConfigError`."""
        read = read_messages(items(entries, "entries", "a list of messages"), "entries")
        return [self._add(message.role, message.parts) for message in read]

    def append(self, message: AnyChatMessage | AnyChatMessageDict) -> AnyChatMessage:
        """Add a copy of a message; return the last one, if it has Anthropic's shape and is several.

        Raises:
            ConfigError: it is not a message, or says what a chat cannot hold.
        """
        return [self._add(each.role, each.parts) for each in read_message(message, "the message")][-1]

    def add_system_prompt(self, prompt: SystemPromptInput) -> SystemPrompt:
        """Add a system prompt: instructions for the model.

        Raises:
            UsageError: the last message is a system prompt already.
            ConfigError: it is not text.
        """
        return cast("SystemPrompt", self._add("system", _system_parts(prompt, "prompt")))

    def add_user_message(
        self,
        content: UserMessageInput | Iterable[UserMessageInput],
        *,
        images: Sequence[FileHandleInput] = (),
        audio: Sequence[FileHandleInput] = (),
        _files: Sequence[FileHandleInput] = (),
    ) -> UserMessage:
        """Add a message of the user. If the last message is the user's, too, it is extended.

        Parameters:
            content: a text or a file, or several of both.
            images: handles that ``prepare_image`` returned.
            audio: handles that ``prepare_audio`` returned.

        Raises:
            ConfigError: a part is neither text nor file, or there is none.
        """
        parts = _parts("user", content)
        for name, handles in (("_files", _files), ("images", images), ("audio", audio)):
            parts += many(_handle, handles, name, "a list of file handles")
        return cast("UserMessage", self._add("user", parts))

    def add_assistant_response(
        self, response: AssistantResponseInput, tool_call_requests: Iterable[ToolCallRequestInput] = ()
    ) -> AssistantResponse:
        """Add a message of the model.

        Parameters:
            response: a text, a prediction's result, or a file.
            tool_call_requests: its tool calls.

        Raises:
            UsageError: the last message is the model's, too.
            ConfigError: a part is not of its kind.
        """
        parts = _parts("assistant", _one(response, "response", "assistant response content"), "response")
        parts += many(read_tool_call, tool_call_requests, "tool_call_requests", "a list of tool calls")
        return cast("AssistantResponse", self._add("assistant", parts))

    def add_tool_results(self, results: Iterable[ToolCallResultInput]) -> ToolResultMessage:
        """Add the results of several tool calls as one message. Raise :class:`ConfigError`."""
        parts: list[Part] = [*many(read_tool_result, results, "results", "a list of results of tools")]
        return cast("ToolResultMessage", self._add("tool", parts))

    def add_tool_result(self, result: ToolCallResultInput) -> ToolResultMessage:
        """Add the result of a tool call. Raise :class:`ConfigError`."""
        return cast("ToolResultMessage", self._add("tool", [read_tool_result(result, "result")]))

    def _add(self, role: Role, parts: Sequence[Part]) -> AnyChatMessage:
        """Add a message, or extend the last one if both are the user's."""
        last = self._history.messages[-1] if self._history.messages else None
        if role == "user" and isinstance(last, UserMessage):
            last.content.extend(part_of(part) for part in parts)
            return last
        if role == "user" and not parts:
            raise ConfigError("Empty user messages are not supported", cause="The content has no parts.")
        if last is not None and last.role == role and (what := _SINGLE.get(role)):
            raise UsageError(f"Multi-part or consecutive {what} are not supported")
        message = message_of(role, parts)
        self._history.messages.append(message)
        return message


HistoryInput: TypeAlias = str | Chat | ChatHistoryData | ChatHistoryDataDict | Sequence[Any]

_SINGLE: dict[Role, str] = {"system": "system prompts", "assistant": "assistant responses"}
"""What two of do not follow each other when they are added."""


def _parts(role: Role, content: Any, where: str = "content") -> list[Part]:
    """Return the parts of a content; the result of a prediction is its text."""
    if isinstance(content, ServerResponse):
        content = content.content
    elif not is_one_part(content):
        content = [
            each.content if isinstance(each, ServerResponse) else each for each in items(content, where, "a content")
        ]
    return read_parts(role, content, where)


def _system_parts(prompt: Any, where: str) -> list[Part]:
    parts = _parts("system", _one(prompt, where, "system prompt"), where)
    if not all(isinstance(part, Text) for part in parts):
        raise ConfigError(f"Unable to parse system prompt: {where} is a file, not text")
    return parts


def _one(content: Any, where: str, what: str) -> Any:
    if not isinstance(content, ServerResponse) and not is_one_part(content):
        raise ConfigError(f"Unable to parse {what}: {where} is of type {type(content).__name__}, not one text")
    return content


def _handle(value: Any, name: str) -> Part:
    parts = [] if isinstance(value, str) else read_parts("user", value, name)
    if len(parts) != 1 or isinstance(parts[0], Text):
        raise wrong_type(
            value,
            name,
            "a FileHandle",
            suggestion="Pass what prepare_image() or prepare_audio() returned, or such a part.",
        )
    return parts[0]
