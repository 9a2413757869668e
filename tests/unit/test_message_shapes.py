"""Chats of OpenAI's, Anthropic's and LM Studio's shapes come in whole, or are refused with the position."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pydantic
import pytest

import studiolo as lm

PNG = b"\x89PNG\r\n\x1a\n, as far as a chat looks"
AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}}
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
CALL = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"city": "Rome"}'}}
WEATHER = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": "let me see", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
]


def weather() -> lm.Chat:
    chat = lm.Chat()
    chat.add_user_message("weather?")
    chat.add_assistant_response("let me see", [{"name": "w", "id": "c1", "arguments": {"city": "Rome"}}])
    chat.add_tool_result({"content": "sunny", "toolCallId": "c1"})
    return chat


def messages(chat: lm.Chat) -> Any:
    return chat.history_data().messages


@pytest.mark.parametrize("history", [WEATHER, {"messages": WEATHER}, tuple(WEATHER)], ids=["list", "dict", "tuple"])
def test_openai_messages_are_taken_whole(history: Any) -> None:
    assert messages(lm.Chat.from_history(history)) == messages(weather())


def test_openai_messages_are_appended_whole() -> None:
    one_by_one, at_once = lm.Chat(), lm.Chat()
    for message in WEATHER:
        one_by_one.append(message)
    at_once.add_entries(WEATHER)
    assert messages(one_by_one) == messages(at_once) == messages(weather())


def test_anthropic_messages_are_taken_whole() -> None:
    history = {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Rome?", "signature": "abc"},
                    {"type": "text", "text": "let me see", "citations": None},
                    {"type": "tool_use", "id": "c1", "name": "w", "input": {"city": "Rome"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "no city", "is_error": True},
                    {"type": "tool_result", "tool_use_id": "c3"},
                    {"type": "text", "text": "and this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_URL[22:]}},
                ],
            },
        ],
    }
    system, user, assistant, tool, last = messages(lm.Chat.from_history(history))
    assert system == lm.SystemPrompt(content=[lm.TextData(text="Be brief.")])
    assert user == messages(weather())[0]
    assert assistant.content == [
        lm.TextData(text="<think>\nRome?\n</think>\n\n"),
        *messages(weather())[1].content,
    ]
    assert [(part.content, part.tool_call_id) for part in tool.content] == [
        ("sunny", "c1"),
        ("Error: no city", "c2"),
        ("", "c3"),
    ]
    assert last.content[0].text == "and this?"
    assert (last.content[1].content, last.content[1].name) == (PNG, "image.png")


@pytest.mark.parametrize("content", [None, ...])
@pytest.mark.parametrize("beside", [{"tool_calls": [CALL]}, {"reasoning_content": "Hm."}, {"refusal": "No."}])
def test_an_answer_may_have_no_content_beside_what_it_says(content: Any, beside: Any) -> None:
    message = {"role": "assistant", **beside} | ({} if content is ... else {"content": content})
    assert len(messages(lm.Chat.from_history([message]))[0].content) == 1


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"role": "developer", "content": "x"}, [lm.TextData(text="x")]),
        ({"role": "assistant", "content": "", "tool_calls": None}, [lm.TextData(text="")]),
        ({"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None}, ["x"]),
        ({"role": "assistant", "content": "x", "function_call": None, "tool_calls": []}, ["x"]),
        ({"role": "user", "content": "x", "name": "ann"}, ["x"]),
        ({"role": "user", "content": [{"type": "input_text", "text": "x"}, "y"]}, ["x", "y"]),
        (
            {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
            ["x"],
        ),
        ({"role": "assistant", "content": "x", "reasoning": "Hm.", "reasoning_content": "Hm."}, [..., "x"]),
        ({"role": "system", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, ["x", "y"]),
        ({"role": "tool", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, [...]),
        ({"role": "tool", "tool_call_id": "nobody's", "content": "x"}, [...]),
        ({"role": "tool", "tool_name": "w", "content": "x"}, [...]),
        ({"role": "user", "content": []}, []),
        ({"role": "assistant", "content": []}, []),
        ({"role": "tool", "content": []}, []),
    ],
)
def test_a_message_of_an_odd_form(message: Any, parts: list[Any]) -> None:
    (taken,) = messages(lm.Chat.from_history({"messages": [message]}))
    assert taken.role == message["role"].replace("developer", "system")
    assert len(taken.content) == len(parts)
    for part, expected in zip(taken.content, parts, strict=True):
        assert expected is ... or part == (lm.TextData(text=expected) if isinstance(expected, str) else expected)
    appended = lm.Chat()
    if parts:
        appended.append(message)
        assert messages(appended) == [taken]


def test_results_of_a_tool_in_several_texts_are_one_result() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (message,) = messages(
        lm.Chat.from_history([{"role": "tool", "tool_call_id": "c", "name": "w", "content": content}])
    )
    assert message.content == [lm.ToolCallResultData(content="ab", tool_call_id="c", name="w")]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"role": "user", "content": "x", "images": ["aGk="]}, r"messages\[1\] has the key 'images'"),
        ({"role": "assistant", "content": "x", "function_call": {"name": "w"}}, "'function_call'"),
        ({"role": "assistant", "content": "x", "annotations": [{"type": "url_citation"}]}, "'annotations'"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "'tool_calls'"),
        ({"role": "assistant"}, r"messages\[1\].*no content"),
        ({"role": "user", "content": None}, r"messages\[1\].*no content"),
        ({"content": "x"}, "Unknown history role: None.*messages"),
        ({"role": "cook", "content": "x"}, "Unknown history role: 'cook'.*messages"),
        (5, r"messages\[1\] is not a valid chat entry"),
        ({"role": "user", "content": ["x", {"type": "input_audio"}]}, r"content\[1\] has no data"),
        ({"role": "user", "content": [AUDIO | {"input_audio": {"data": "aGk=", "format": "ogg"}}]}, "format 'ogg'"),
        ({"role": "user", "content": [AUDIO | {"input_audio": {"data": "!", "format": "wav"}}]}, "not base64"),
        ({"role": "user", "content": [AUDIO | {"transcript": "hi"}]}, "'transcript'"),
        ({"role": "system", "content": [AUDIO]}, r"content\[0\].*Audio"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "'audio'"),
        ({"role": "user", "content": ["x", 5]}, r"messages\[1\]\.content\[1\] is of type int"),
        ({"role": "user", "content": b"x"}, r"messages\[1\]\.content is of type bytes"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, r"content\[0\]\.text is of type int"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "emphasis": 3}]}, "'emphasis'"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y.png"}]},
            r"\[0\] is on the network",
        ),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG_URL + "!"}}]}, "not base64"),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]},
            "no data in base64",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}, "part of type 'file'"),
        ({"role": "user", "content": [{"type": "file", "identifier": "f", "name": "n"}]}, "FileHandle"),
        ({"role": "system", "content": [{"type": "image_url", "image_url": PNG_URL}]}, r"content\[0\].*Image"),
        ({"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}, "redacted_thinking"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"function": {"arguments": "{}"}}]}, "has no name"),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL, {"function": {"name": "v", "arguments": "{"}}]},
            r"messages\[1\]\.tool_calls\[1\] \(a call of 'v'\) are not JSON",
        ),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "v", "arguments": "[1]"}}]}, "'v'.* not an object"),
        ({"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "v"}}]}, r"tool_calls\[0\]"),
        (
            {"role": "tool", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image"}]}]},
            r"Unable to parse tool result: messages\[1\]\.content\[0\]\.content\[0\] is of the type 'image'",
        ),
        ({"role": "tool", "content": [5]}, r"messages\[1\]\.content\[0\] is not a result"),
    ],
)
def test_what_a_chat_cannot_hold_is_refused_by_position(message: Any, says: str) -> None:
    with pytest.raises(lm.ConfigError, match=says):
        lm.Chat.from_history({"messages": [{"role": "user", "content": "hi"}, message]})
    chat = lm.Chat()
    with pytest.raises(lm.ConfigError):
        chat.append(message)
    assert messages(chat) == []


def test_a_key_beside_the_messages_is_refused() -> None:
    with pytest.raises(lm.ConfigError, match="'tools'"):
        lm.Chat.from_history({"messages": WEATHER, "tools": [{"type": "function"}]})


# Objects in place of dicts.


class Model(pydantic.BaseModel):
    role: str
    content: str | None
    tool_calls: list[Any] | None = None


@dataclass
class Record:
    role: str
    content: str


class Frame(msgspec.Struct):
    role: str
    content: str


class Text(str):
    """A subclass, as markup libraries have."""


@pytest.mark.parametrize(
    "entry",
    [
        Model(role="user", content="x"),
        Record("user", "x"),
        Frame("user", "x"),
        ("user", "x"),
        ["user", "x"],
        {Text("role"): Text("user"), "content": Text("x")},
        {"role": np.str_("user"), "content": np.array(["x"])},
        {"role": "user", "content": (each for each in ["x"])},
        SimpleNamespace(to_dict=lambda: {"role": "user", "content": "x"}),
    ],
)
def test_messages_are_objects_of_every_kind(entry: Any) -> None:
    chat = lm.Chat.from_history({"messages": [entry]})
    assert chat.to_dict() == {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}
    assert type(messages(chat)[0].content[0].text) is str


def test_answers_of_other_clients_are_messages() -> None:
    chat = lm.Chat()
    chat.append(Model(role="assistant", content=None, tool_calls=[CALL]))
    assert messages(chat)[0].content == messages(weather())[1].content[1:]


# There and back.

HANDLE = {"type": "file", "name": "a", "identifier": "i", "sizeBytes": 3, "fileType": "image"}
REQUEST = {"type": "toolCallRequest", "toolCallRequest": {"type": "function", "name": "w", "arguments": {"a": 1}}}


@pytest.mark.parametrize(
    "contents",
    [
        [("user", [{"type": "text", "text": "u"}]), ("assistant", [REQUEST])],
        [("assistant", [REQUEST, {"type": "text", "text": "after"}])],
        [("assistant", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), ("assistant", [])],
        [("user", [{"type": "text", "text": ""}]), ("user", [{"type": "text", "text": "b"}]), ("user", [])],
        [("system", [{"type": "text", "text": "a"}]), ("system", [HANDLE]), ("user", [HANDLE])],
        [("tool", [{"type": "toolCallResult", "content": "1"}, {"type": "toolCallResult", "content": "2"}])],
        [("tool", []), ("assistant", [{**REQUEST, "toolCallRequest": {"type": "function", "name": "w", "id": ""}}])],
        [("user", [{"type": "image_url", "image_url": {"url": PNG_URL}}, AUDIO])],
    ],
)
def test_a_chat_comes_back_as_it_went(contents: list[Any]) -> None:
    wire = {"messages": [{"role": role, "content": content} for role, content in contents]}
    chat = lm.Chat.from_history(wire)
    assert chat.to_dict() == wire
    for copied in (
        lm.Chat.from_dict(json.loads(json.dumps(chat.history_data().to_dict()))),
        lm.Chat.from_history(chat.history_data()),
        lm.Chat.from_history(json.loads(str(chat).partition("(")[2][:-1])),
        copy.copy(chat),
        copy.deepcopy(chat),
    ):
        assert copied.history_data() == chat.history_data()


# Nothing is shared.


def test_what_was_added_is_copied() -> None:
    text, arguments = lm.TextData(text="a"), {"city": ["Rome"]}
    call = lm.ToolCallRequest(type="function", name="w", arguments=arguments)
    result = lm.ToolCallResultData(content="sunny")
    handle = lm.FileHandle.from_dict({key: value for key, value in HANDLE.items() if key != "type"})
    chats = [lm.Chat(text), lm.Chat(text)]
    for chat in chats:
        chat.add_user_message([text, handle])
        chat.add_assistant_response(text, [call, {"name": "v", "arguments": arguments}])
        chat.add_tool_results([result])
        chat.append(lm.UserMessage(content=[text]))
    before = chats[0].to_dict()
    text.text = "changed"
    handle.name = "changed"
    call.name = "changed"
    arguments["city"].append("changed")
    result.content = "changed"
    messages_of_first: Any = chats[0]._history.messages
    messages_of_first[2].content[1].tool_call_request.arguments["more"] = 1
    assert chats[1].to_dict() == before


def test_the_message_of_a_user_grows_with_the_next_one() -> None:
    chat = lm.Chat()
    first = chat.add_user_message("a")
    assert chat.add_user_message("b") is first
    assert len(first.content) == 2
    assert len(chat.history_data().messages) == 1
