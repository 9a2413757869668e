"""Chats against the official client's: the same calls must give the same messages on the wire, or both be refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lmstudio as official
import pytest
from hypothesis import given
from hypothesis import strategies as st

import studiolo as lm

TEXT = st.text(max_size=20)
SCALARS = st.booleans() | st.integers(-9, 9) | TEXT
# The official client refuses lists in lists and renames keys with underscores; ours does neither.
ARGUMENTS = st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), SCALARS | st.lists(SCALARS, max_size=2))
FILE = st.fixed_dictionaries(
    {
        "type": st.just("file"),
        "name": TEXT,
        "identifier": TEXT,
        "sizeBytes": st.integers(0, 10**9),
        "fileType": st.sampled_from(["image", "text/plain", "application/pdf", "unknown"]),
    }
)
TEXT_PART = st.builds(lambda text: {"type": "text", "text": text}, TEXT)
TOOL_CALL = st.fixed_dictionaries(
    {"type": st.just("function"), "name": TEXT, "arguments": ARGUMENTS}, optional={"id": TEXT}
)
TOOL_CALL_PART = st.builds(lambda call: {"type": "toolCallRequest", "toolCallRequest": call}, TOOL_CALL)
TOOL_RESULT = st.fixed_dictionaries({"type": st.just("toolCallResult"), "content": TEXT, "toolCallId": TEXT})

# Each step is something to do to a chat, which works with either library's names.
Step = Callable[[Any, Any], object]


def _steps() -> st.SearchStrategy[Step]:
    part = TEXT | TEXT_PART | FILE
    return st.one_of(
        st.builds(lambda text: lambda _, chat: chat.add_system_prompt(text), TEXT | TEXT_PART),
        st.builds(lambda content: lambda _, chat: chat.add_user_message(content), part | st.lists(part, max_size=3)),
        st.builds(
            lambda text, images: (
                lambda lib, chat: chat.add_user_message(
                    text, images=[lib.FileHandle.from_dict(image) for image in images]
                )
            ),
            TEXT,
            st.lists(FILE, max_size=2),
        ),
        st.builds(
            lambda text, calls: lambda _, chat: chat.add_assistant_response(text, calls),
            TEXT | TEXT_PART,
            st.lists(TOOL_CALL_PART, max_size=2),
        ),
        st.builds(
            lambda text, calls: (
                lambda lib, chat: chat.add_assistant_response(
                    text, [lib.ToolCallRequest.from_dict(call) for call in calls]
                )
            ),
            TEXT,
            st.lists(TOOL_CALL, max_size=2),
        ),
        st.builds(lambda result: lambda _, chat: chat.add_tool_result(result), TOOL_RESULT),
        st.builds(lambda results: lambda _, chat: chat.add_tool_results(results), st.lists(TOOL_RESULT, max_size=3)),
        st.builds(
            lambda role, content: lambda _, chat: chat.add_entry(role, content),
            st.sampled_from(["system", "user", "assistant", "cook"]),
            TEXT | TEXT_PART | st.lists(TEXT_PART, max_size=1),  # the official client refuses several parts
        ),
        st.builds(lambda text: lambda lib, chat: chat.append(lib.UserMessage(content=[lib.TextData(text=text)])), TEXT),
        st.builds(lambda text: lambda _, chat: chat.append({"role": "assistant", "content": [text]}), TEXT),
    )


def wire(chat: Any) -> Any:
    return json.loads(json.dumps(chat._get_history_for_prediction()))


@given(st.none() | TEXT, st.lists(_steps(), max_size=8))
def test_the_same_calls_give_the_same_messages(prompt: str | None, steps: list[Step]) -> None:
    ours, theirs = lm.Chat(prompt), official.Chat(prompt)
    for step in steps:
        outcomes: list[tuple[str, Any]] = []
        for library, chat, errors in ((lm, ours, lm.StudioloError), (official, theirs, official.LMStudioError)):
            try:
                added: Any = step(library, chat)
            except errors as error:
                kind = next(k for k in ("ValueError", "RuntimeError") if _is(error, k))
                outcomes.append((kind, None))
            else:
                outcomes.append(("added", added.to_dict()))
        assert outcomes[0] == outcomes[1]
        assert wire(ours) == wire(theirs)
    assert wire(official.Chat.from_history(wire(ours))) == wire(theirs)
    assert wire(lm.Chat.from_history(wire(ours))) == wire(ours) == wire(ours.copy()) == wire(copy.deepcopy(ours))
    assert wire(lm.Chat.from_history(lm.ChatHistoryData.from_dict(wire(ours)))) == wire(ours)
    assert str(ours) == str(theirs)
    assert lm.Chat.from_dict(json.loads(json.dumps(ours.to_dict()))).history_data() == ours.history_data()


def _is(error: Exception, kind: str) -> bool:
    return any(base.__name__.endswith(kind) for base in type(error).__mro__)


@pytest.mark.parametrize(
    "history",
    [
        "hi",
        {"messages": []},
        {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]},
        {"messages": [("user", "a"), ("assistant", "b")]},
        {"messages": [{"role": "user", "content": ["a", {"type": "text", "text": "b"}]}]},
    ],
)
def test_histories_in_every_form(history: Any) -> None:
    assert wire(lm.Chat.from_history(history)) == wire(official.Chat.from_history(history))


@pytest.mark.parametrize(
    "history", [3, None, [], {}, {"messages": None}, {"messages": [3]}, {"messages": [{"role": "cook", "content": ""}]}]
)
def test_what_is_no_history(history: Any) -> None:
    with pytest.raises(lm.ConfigError):
        lm.Chat.from_history(history)


def test_copies_share_nothing() -> None:
    chat = lm.Chat("You are terse.")
    chat.add_user_message("a")
    data = chat.history_data()
    copies = [chat.copy(), copy.copy(chat), copy.deepcopy(chat), lm.Chat.from_history(chat), lm.Chat.from_history(data)]
    chat.add_user_message("b")
    assert {len(other.history_data().messages[-1].content) for other in copies} == {1}
    assert len(data.messages[-1].content) == 1


def test_an_answer_of_a_model_is_a_message() -> None:
    result = SimpleNamespace(content="Paris.", stats=None)
    assert lm.Chat().add_assistant_response(result).to_dict() == {
        "role": "assistant",
        "content": [{"type": "text", "text": "Paris."}],
    }


def test_entries_of_every_form() -> None:
    chat = lm.Chat()
    added = chat.add_entries(
        [("system", "a"), {"role": "user", "content": "b"}, lm.AssistantResponse(content=[lm.TextData(text="c")])]
    )
    assert [type(message) for message in added] == [lm.SystemPrompt, lm.UserMessage, lm.AssistantResponse]
    assert added[0].role == "system" and added[1].content[0].type == "text"
    with pytest.raises(lm.ConfigError, match="is not a valid chat entry"):
        chat.append({"role": "user"})
    with pytest.raises(lm.ConfigError, match=r"entries\[0\] is not a valid chat entry"):
        chat.add_entries([3])  # type: ignore[list-item]


def test_an_empty_history_and_a_prompt_do_not_go_together() -> None:
    with pytest.raises(lm.ConfigError):
        lm.Chat("a", _initial_history=lm.ChatHistoryData(messages=[]))


def test_a_wrong_dict_is_an_error() -> None:
    with pytest.raises(lm.ConfigError, match="FileHandle"):
        lm.FileHandle.from_dict({"name": "x", "identifier": 3})
