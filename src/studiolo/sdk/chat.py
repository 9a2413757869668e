"""Chats: the messages of a conversation, in the host's form."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast, get_args, runtime_checkable

from ..errors import ConfigError, UsageError
from ..protocol.chat import (
    AnyChatMessage,
    AssistantResponse,
    ChatHistoryData,
    ChatStruct,
    FileHandle,
    SystemPrompt,
    TextData,
    ToolCallRequest,
    ToolCallRequestData,
    ToolCallResultData,
    ToolResultMessage,
    UserMessage,
)

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
S = TypeVar("S", bound=ChatStruct)


class Chat:
    """The messages of a conversation: the argument of ``respond``.

    Parameters:
        initial_prompt: the system prompt.

    The ``add_`` methods return the message that they added.
    """

    def __init__(
        self, initial_prompt: SystemPromptInput | None = None, *, _initial_history: ChatHistoryData | None = None
    ) -> None:
        if _initial_history is not None and initial_prompt is not None:
            raise ConfigError("A chat takes an initial history or a system prompt, not both")
        self._history = ChatHistoryData(messages=[]) if _initial_history is None else _initial_history
        if initial_prompt is not None:
            self.add_system_prompt(initial_prompt)

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

    @classmethod
    def from_history(cls, history: str | Chat | ChatHistoryData | ChatHistoryDataDict) -> Self:
        """Return a new chat with the messages of ``history``.

        Parameters:
            history: another chat; a text, which is one user message; or a dict of the wire form,
                ``{"messages": [{"role": "user", "content": "hi"}]}``, where a message's content may be a text.

        Raises:
            ConfigError: it is none of these, or a message is malformed.
        """
        if isinstance(history, Chat):
            return cls(_initial_history=history.history_data())
        if isinstance(history, ChatHistoryData):
            return cls(_initial_history=copy.deepcopy(history))
        chat = cls()
        if isinstance(history, str):
            chat.add_user_message(history)
            return chat
        messages = history.get("messages") if isinstance(history, Mapping) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
            raise ConfigError(
                f"A chat cannot be made from {history!r}",
                suggestion="Pass a text, a Chat, or a dict with a list of messages under 'messages'.",
            )
        chat.add_entries(cast("Iterable[Any]", messages))
        return chat

    def copy(self) -> Self:
        """Return a copy; changes to one do not affect the other."""
        return type(self).from_history(self)

    __copy__ = copy

    def __deepcopy__(self, _memo: object) -> Self:
        return self.copy()

    def add_entry(self, role: str, content: AnyChatMessageInput) -> AnyChatMessage:
        """Add a message of a role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.

        Parameters:
            role: the author of the message.
            content: the argument of the role's own method. An assistant's text and tool calls may be one list.

        Raises:
            ConfigError: there is no such role, or the content is not of its kind.
        """
        match role:
            case "user":
                return self.add_user_message(content)
            case "tool":
                return self.add_tool_results(content)
            case "assistant":
                if _is_one(content):
                    return self.add_assistant_response(content)
                parts = list(content)
                if not parts:
                    raise ConfigError("Unable to parse assistant response content: there is none")
                return self.add_assistant_response(parts[0], parts[1:])
            case "system":
                parts = [content] if _is_one(content) else list(content)
                if len(parts) != 1:
                    raise ConfigError(f"Unable to parse system prompt: it has {len(parts)} parts, not one")
                return self.add_system_prompt(parts[0])
            case _:
                raise ConfigError(
                    f"Unknown history role: {role!r}", suggestion="The roles are system, user, assistant and tool."
                )

    def add_entries(
        self, entries: Iterable[AnyChatMessage | Mapping[str, Any] | tuple[str, Any]]
    ) -> list[AnyChatMessage]:
        """Add messages, dicts with ``role`` and ``content``, or pairs of both. Raise :class:`ConfigError`."""
        added: list[AnyChatMessage] = []
        for entry in entries:
            match entry:
                case ChatStruct(role=role, content=content):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
                    pass
                case {"role": role, "content": content}:
                    pass
                case (str() as role, content):
                    pass
                case _:
                    raise ConfigError(f"Could not parse history entry: {entry!r}")
            added.append(self.add_entry(cast("str", role), content))
        return added

    def append(self, message: AnyChatMessage | AnyChatMessageDict) -> AnyChatMessage:
        """Add a copy of a message. Raise :class:`ConfigError`."""
        if isinstance(message, get_args(AnyChatMessage)):
            message = cast("AnyChatMessage", message).to_dict()
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ConfigError(f"{message!r} is not a valid chat entry")
        return self.add_entry(message["role"], message["content"])

    def add_system_prompt(self, prompt: SystemPromptInput) -> SystemPrompt:
        """Add a system prompt: instructions for the model.

        Raises:
            UsageError: the last message is a system prompt already.
            ConfigError: it is not text.
        """
        self._must_not_follow(SystemPrompt, "system prompts")
        match prompt:
            case TextData():
                part = prompt
            case str() | {"text": str()}:
                part = TextData(text=prompt if isinstance(prompt, str) else prompt["text"])
            case _:
                raise ConfigError(f"Unable to parse system prompt: it is text, not {prompt!r}")
        return self._added(SystemPrompt(content=[part]))

    def add_user_message(
        self,
        content: UserMessageInput | Iterable[UserMessageInput],
        *,
        images: Sequence[FileHandleInput] = (),
        _files: Sequence[FileHandleInput] = (),
    ) -> UserMessage:
        """Add a message of the user. If the last message is the user's, too, it is extended.

        Parameters:
            content: a text or a file, or several of both.
            images: handles that ``prepare_image`` returned.

        Raises:
            ConfigError: a part is neither text nor file, or there is none.
        """
        items = [content] if _is_one(content) else list(cast("Iterable[Any]", content))
        parts = [_user_part(item) for item in [*items, *_files, *images]]
        last = self._history.messages[-1] if self._history.messages else None
        if isinstance(last, UserMessage):
            last.content.extend(parts)
            return last
        if not parts:
            raise ConfigError("Empty user messages are not supported")
        return self._added(UserMessage(content=parts))

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
        self._must_not_follow(AssistantResponse, "assistant responses")
        parts = [assistant_part(response), *(_tool_request_part(request) for request in tool_call_requests)]
        return self._added(AssistantResponse(content=parts))

    def add_tool_results(self, results: Iterable[ToolCallResultInput]) -> ToolResultMessage:
        """Add the results of several tool calls as one message. Raise :class:`ConfigError`."""
        return self._added(ToolResultMessage(content=[_tool_result(result) for result in results]))

    def add_tool_result(self, result: ToolCallResultInput) -> ToolResultMessage:
        """Add the result of a tool call. Raise :class:`ConfigError`."""
        return self.add_tool_results([result])

    def _added(self, message: M) -> M:
        self._history.messages.append(cast("AnyChatMessage", message))
        return message

    def _must_not_follow(self, kind: type[AnyChatMessage], what: str) -> None:
        if self._history.messages and isinstance(self._history.messages[-1], kind):
            raise UsageError(f"Multi-part or consecutive {what} are not supported")


def _is_one(content: Any) -> bool:
    """Return whether it is one part of a message, not several."""
    return isinstance(content, str | Mapping) or not isinstance(content, Iterable)


def _user_part(item: Any) -> TextData | FileHandle:
    match item:
        case TextData() | FileHandle():
            return item
        case str():
            return TextData(text=item)
        case {"text": str() as text}:
            return TextData(text=text)
        case {"name": str(), "identifier": str()}:
            return _convert(FileHandle, cast("Mapping[str, Any]", item))
        case _:
            raise ConfigError(f"Unable to parse user message content: it is text and files, not {item!r}")


def assistant_part(response: Any) -> TextData | FileHandle:
    """Return a model's answer as a part of a message. Raise :class:`ConfigError`."""
    match response:
        case TextData() | FileHandle():
            return response
        case str():
            return TextData(text=response)
        case {"text": str() as text}:
            return TextData(text=text)
        case {"name": str(), "identifier": str()}:
            return _convert(FileHandle, cast("Mapping[str, Any]", response))
        case ServerResponse():
            return TextData(text=response.content)
        case _:
            raise ConfigError(f"Unable to parse assistant response content: it begins with text, not with {response!r}")


def _tool_request_part(request: Any) -> ToolCallRequestData:
    match request:
        case ToolCallRequestData():
            return request
        case ToolCallRequest():
            return ToolCallRequestData(tool_call_request=request)
        case {"toolCallRequest": {**call}} | {"tool_call_request": {**call}}:
            return ToolCallRequestData(tool_call_request=_convert(ToolCallRequest, cast("Mapping[str, Any]", call)))
        case {"name": str()}:
            call = {"type": "function", **cast("Mapping[str, Any]", request)}
            return ToolCallRequestData(tool_call_request=_convert(ToolCallRequest, call))
        case _:
            raise ConfigError(f"Unable to parse tool call request content: {request!r}")


def _tool_result(result: Any) -> ToolCallResultData:
    match result:
        case ToolCallResultData():
            return result
        case {"content": str()}:
            return _convert(ToolCallResultData, cast("Mapping[str, Any]", result))
        case _:
            raise ConfigError(f"Unable to parse tool result: {result!r}")


def _convert(kind: type[S], data: Mapping[str, Any]) -> S:
    return kind.from_dict({"type": kind.__struct_config__.tag, **data} if kind.__struct_config__.tag else data)
