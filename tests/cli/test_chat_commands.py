"""Every command of ``studiolo chat``; on the fake engine, in the tests' own process, typed on a terminal of a test."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import studiolo_fake_engine as fake

import studiolo as lm
from studiolo.cli.chat.commands import found, is_command
from studiolo.cli.chat.context import ChatContext
from studiolo.cli.chat.conversation_commands import unquoted
from studiolo.cli.chat.history import MAX_PROMPTS, PromptHistory
from studiolo.cli.chat.interactive import Permission
from studiolo.cli.chat.interrupts import interrupts_wait
from studiolo.cli.chat.journal import Recorder, stored_conversations
from studiolo.cli.chat.loop import COMMANDS, begin, run
from studiolo.cli.chat.session import ChatSession
from studiolo.cli.chat.tools import ChatTools
from studiolo.errors import ConfigError
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from studiolo.store.conversation import Conversation, ConversationMessage
from studiolo.store.conversations import Conversations
from tests.support.chatting import TypedTerminal, home_of_fakes, picture, prompt_of
from tests.support.fake_models import add_model

pytestmark = [pytest.mark.quick_model, pytest.mark.slow]


@pytest.fixture
def home(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    return home_of_fakes(empty_home, monkeypatch)


@pytest.fixture
def chat(home: Home) -> Iterator[ChatContext]:
    """A chat that has begun, on a terminal that a test types on."""
    with chatting() as chat:
        yield chat


@contextlib.contextmanager
def chatting(model: str | None = "tiny", *typed: str, last: bool = False) -> Iterator[ChatContext]:
    terminal = TypedTerminal([*typed])
    with (
        stored_conversations() as journal,
        lm.Client("embedded") as client,
        contextlib.closing(ChatTools(Permission(terminal).allows)) as tools,
    ):
        session = ChatSession(
            client, Recorder(journal, terminal.note), *(journal.newest() if last else [Conversation()])
        )
        session.tools = tools
        chat = ChatContext(session, journal, terminal, tools)
        begin(chat, model)
        yield chat
    background.run(close_hosts())


def typed(chat: ChatContext, *lines: str) -> str:
    """Type lines and return what is shown."""
    terminal = chat.terminal
    assert isinstance(terminal, TypedTerminal)
    terminal.said()
    terminal.lines = [*lines]
    run(chat)
    chat.has_ended = False
    return terminal.said()


def test_questions_and_answers_follow_each_other(chat: ChatContext) -> None:
    assert "One \ntwo \nthree." in typed(chat, "First?")
    typed(chat, "Second\nquestion?")
    assert prompt_of() == "First?\nOne two three.\nSecond\nquestion?"
    assert "studiolo chat -c" in typed(chat) and chat.session.conversation.title == "First?"


def test_what_is_asked_and_answered_is_there_after_the_end(home: Home) -> None:
    with chatting() as chat:
        typed(chat, "/system Be brief.", "/set seed 3", "First?", "/title Counting")
    with chatting(None, last=True) as chat:
        shown = chat.terminal.said()  # type: ignore[attr-defined]
        assert ">>> First?" in shown and "One two three." in shown and "tiny answers" in shown
        assert typed(chat, "/system", "/set", "/title").splitlines()[:3] == ["Be brief.", "seed = 3", "Counting"]
        typed(chat, "Second?")
        assert prompt_of() == "Be brief.\nFirst?\nOne two three.\nSecond?"


def test_the_system_prompt_is_set_and_taken_away(chat: ChatContext) -> None:
    assert "no system prompt" in typed(chat, "/system")
    typed(chat, "/system Be\nbrief.", "?")
    assert prompt_of() == "Be\nbrief.\n?"
    typed(chat, "/system none", "/undo", "?")
    assert prompt_of() == "?"


def test_every_setting_of_a_prediction_is_set_shown_and_unset(chat: ChatContext) -> None:
    assert "Every setting has its default" in typed(chat, "/set")
    assert "temperature = 0.2" in typed(chat, "/set temperature 0.2")
    shown = typed(chat, "/set topP=0.5", '/set stop_strings = ["a b"]', "/set max_tokens 2", "/set")
    assert 'stop_strings = ["a b"]' in shown and "top_p_sampling = 0.5" in shown and "top_p = " not in shown
    assert "One \ntwo \n(ended: maxPredictedTokensReached)" in typed(chat, "Count.")
    assert "temperature = 0.2" in typed(chat, "/set temperature") and "its default" in typed(chat, "/set seed")
    assert "top_p" not in typed(chat, "/unset top_p") and chat.session.config.top_p_sampling is None
    for wrong, said in (
        ("/set temperatur 1", "Did you mean 'temperature'?"),
        ("/set temperature hot", "temperature"),
        ("/set colour", "no field 'colour'"),
        ("/unset colour", "no field 'colour'"),
        ("/unset", "needs the name"),
        ("/set max_tokens 0", "max_tokens"),
    ):
        assert said in typed(chat, wrong)
    assert chat.session.config.temperature == 0.2
    for name in lm.PredictionConfig.__struct_fields__:
        assert "its default" in typed(chat, f"/set {name}") or getattr(chat.session.config, name) is not None


def test_a_preset_sets_its_settings_and_its_system_prompt(home: Home) -> None:
    with home.settings.open("a") as settings:
        settings.write(
            '[presets.Brief]\nsystem_prompt = "Be brief."\nmax_tokens = 2\n[presets.cold]\ntemperature = 0\n'
        )
    with chatting() as chat:
        assert typed(chat, "/preset").splitlines()[:2] == ["Brief", "cold"]
        shown = typed(chat, "/set seed 3", "/preset brief")
        assert "Be brief.\nmax_tokens = 2\nseed = 3" in shown
        assert "One \ntwo \n(ended" in typed(chat, "Count.") and prompt_of() == "Be brief.\nCount."
        assert "Be brief.\ntemperature = 0.0\nmax_tokens = 2\nseed = 3" in typed(chat, "/preset cold")
        assert "no preset 'warm'. The presets are Brief, cold." in typed(chat, "/preset warm")


def test_files_go_along_with_the_next_question_alone(chat: ChatContext, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("Bees.")
    (tmp_path / "a.png").write_bytes(picture())
    shown = typed(chat, f"/file '{tmp_path}/a b.txt'", f"/image {tmp_path}/a.png")
    assert "takes along: a b.txt, a.png" in shown
    typed(chat, "What?")
    assert prompt_of() == "File a b.txt:\n\nBees.\n\nWhat?" and len(fake.engines[-1].requests[-1].media) == 1
    assert "takes along: nothing" in typed(chat, "/file") and "[a b.txt, a.png]" not in typed(chat, "/undo", "/show")
    assert "not an image" in typed(chat, f"/image {__file__}") and "none.txt" in typed(chat, "/file none.txt")
    typed(chat, "Why?")
    assert prompt_of() == "Why?"


def test_undo_retry_and_branches(chat: ChatContext) -> None:
    fake.models["tiny"].answers = [["A."], ["B."], ["C."], ["D."]]
    typed(chat, "First?", "Second?", "/retry")
    assert prompt_of() == "First?\nA.\nSecond?"
    assert "Taken back: Second?" in typed(chat, "/undo")
    typed(chat, "Third?")
    assert prompt_of() == "First?\nA.\nThird?"
    shown = typed(chat, "/branch")
    assert [line.split("last: ")[1] for line in shown.splitlines()[:3]] == ["B.", "C.", "D."]
    assert shown.splitlines()[2].startswith("*")
    assert ">>> Second?\nB." in typed(chat, "/branch 1")
    typed(chat, "/undo", "/undo")
    assert "no question yet" in typed(chat, "/undo") and "no question yet" in typed(chat, "/retry")
    for wrong in ("/branch 9", "/branch 0", "/branch x"):
        assert "There is no branch" in typed(chat, wrong)


def test_an_answer_that_is_stopped_is_kept_and_the_chat_continues(home: Home) -> None:
    def stop(text: str) -> None:
        if "two " in text:  # fragments are merged on a busy machine
            raise KeyboardInterrupt

    fake.models["tiny"].endless = True
    with chatting() as chat:
        chat.terminal.on_fragment = stop  # type: ignore[attr-defined]
        assert "(stopped" in typed(chat, "Count.")
        assert [message.stop_reason for message in chat.session.branch] == [None, "userStopped"]
        chat.terminal.on_fragment = lambda text: None  # type: ignore[attr-defined]
        fake.models["tiny"].endless = False
        typed(chat, "And then?")
        kept = chat.session.branch[1].text
        assert kept.startswith("One two ") and prompt_of() == f"Count.\n{kept}\nAnd then?"
    with chatting(last=True) as chat:
        assert [message.text for message in chat.session.branch[:2]] == ["Count.", kept]


def test_ctrl_c_while_an_answer_is_written_loses_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    add = Conversations.add

    async def interrupted(self: Conversations, conversation_id: str, message: ConversationMessage) -> None:
        if message.role == "assistant":
            signal.raise_signal(signal.SIGINT)
        await add(self, conversation_id, message)

    monkeypatch.setattr(Conversations, "add", interrupted)
    with chatting() as chat:
        assert "(stopped" in typed(chat, "Count.")
        assert [message.stop_reason for message in chat.session.branch] == [None, "eosFound"]
    with chatting(last=True) as chat:
        assert [message.text for message in chat.session.branch] == ["Count.", "One two three."]


def test_ctrl_c_that_python_drops_stops_the_answer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    dropped: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: dropped.append(about.exc_type))
    fake.models["tiny"].endless = True
    with chatting() as chat:
        chat.terminal.on_fragment = lambda text: None if dropped else Dying() and None  # type: ignore[attr-defined]
        assert "(stopped" in typed(chat, "Count.")
        assert [message.stop_reason for message in chat.session.branch] == [None, "userStopped"]
    assert dropped == [KeyboardInterrupt]


def test_a_second_ctrl_c_does_not_wait() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            done.append("the step")
        done.append("what it is a part of")
        signal.raise_signal(signal.SIGINT)
        done.append("nothing")
    assert done == ["the step", "what it is a part of"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_question_without_an_answer_is_asked_again_or_replaced(home: Home) -> None:
    with chatting() as chat:
        fake.models["tiny"].dies_after = 0
        assert "ended unexpectedly" in typed(chat, "/set on_engine_failure error", "First?")
    fake.models["tiny"].dies_after = None
    with chatting(last=True) as chat:
        assert "/retry asks again" in chat.terminal.said()  # type: ignore[attr-defined]
        typed(chat, "/retry")
        assert prompt_of() == "First?"
        typed(chat, "/undo", "/branch 1")
        fake.models["tiny"].dies_after = 0
        typed(chat, "Second?")
        fake.models["tiny"].dies_after = None
        typed(chat, "Third?")
        assert prompt_of() == "First?\nOne two three.\nThird?"


def test_conversations_are_saved_loaded_and_begun(chat: ChatContext, tmp_path: Path) -> None:
    assert "not stored" in typed(chat, "/save") and "no title" in typed(chat, "/title")
    typed(chat, "First?", "/set seed 3")
    first = chat.session.conversation.id
    assert first in typed(chat, "/save")
    typed(chat, f"/save {tmp_path}/a.json", f"/save {tmp_path}/a.md")
    assert (tmp_path / "a.md").read_text().startswith("# First?") and json.loads((tmp_path / "a.json").read_text())
    assert "cannot be written" in typed(chat, f"/save {tmp_path}/no/a.md")
    typed(chat, "/new", "Second?")
    assert prompt_of() == "Second?" and chat.session.config.seed == 3
    assert typed(chat, "/load").splitlines()[:2] == [
        f"{chat.session.conversation.id}  Second?",
        f"{first}  First?",
    ]
    assert ">>> First?\nOne two three." in typed(chat, f"/load {first[:5]}") and chat.session.conversation.id == first
    assert ">>> First?" in typed(chat, f"/load {tmp_path}/a.json") and chat.session.conversation.id != first
    typed(chat, "More?")
    assert prompt_of() == "First?\nOne two three.\nMore?"
    assert "no conversation" in typed(chat, "/load nothing")
    assert "not an exported conversation" in typed(chat, f"/load {tmp_path}/a.md")


def test_the_model_is_chosen_from_a_list_and_changed(home: Home) -> None:
    add_model(home, "other")
    with chatting(None, "7", "o", "2") as chat:
        shown = chat.terminal.said()  # type: ignore[attr-defined]
        assert "  1  other" in shown and "  2  tiny" in shown and "no number 7" in shown
        assert chat.session.conversation.model == "other"  # the only one with an o
        assert "* other" in typed(chat, "/model") and "  tiny" in typed(chat, "/model")
        assert "tiny answers" in typed(chat, "/model tiny") and "tiny" in typed(chat, "/model tinny")
        typed(chat, "First?")
        assert chat.session.branch[-1].model == "tiny"


def test_statistics_and_reasoning_of_the_last_answer(chat: ChatContext) -> None:
    assert "no statistics" in typed(chat, "/stats") and "no reasoning" in typed(chat, "/reasoning")
    fake.models["tiny"].tokens = ("<think>", "Hm.", "</think>", "Two.")
    assert "(Hm.)\nTwo." in typed(chat, "1+1?")
    assert "tiny | 1 tokens in" in typed(chat, "/stats") and "Hm." in typed(chat, "/reasoning")
    assert "2 messages on this branch" in typed(chat, "/stats")
    assert "out | " in typed(chat, "/stats on", "2+2?") and "out | " not in typed(chat, "/stats off", "3+3?")


def test_help_lists_every_command_in_80_columns(chat: ChatContext) -> None:
    shown = typed(chat, "/help")
    for command in COMMANDS:
        assert f"/{command.names[0]} " in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "Did you mean /retry?" in typed(chat, "/retri") and "/help lists" in typed(chat, "/xyzzy")


def test_the_chat_ends_by_a_command_and_empty_lines_are_ignored(chat: ChatContext) -> None:
    for end in ("/bye", "/exit", "/quit", "exit"):
        typed(chat, "", "  ", end, "Not asked?")
    assert len(chat.session.tree) == 0


def test_a_question_is_written_in_an_editor(chat: ChatContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    (tmp_path / "edit.py").write_text("import sys; open(sys.argv[1], 'a').write(', and more?\\n')")
    monkeypatch.setenv("EDITOR", f"{sys.executable} {tmp_path}/edit.py")
    typed(chat, "/edit One")
    assert prompt_of() == "One, and more?"
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert "/no/such/editor" in typed(chat, "/edit")


def test_what_is_a_command() -> None:
    assert is_command("/help") and is_command("/set temperature 1") and is_command("/hlp\nme")
    for text in ("", "/", "/ x", "/etc/passwd says what?", "a /help", "//x"):
        assert not is_command(text)
    command, argument = found(COMMANDS, "/system  two\nlines ")
    assert command.names == ("system",) and argument == "two\nlines"
    assert found(COMMANDS, "/SYSTEM\nx")[1] == "x"
    with pytest.raises(ConfigError, match="no command /systm"):
        found(COMMANDS, "/systm")
    assert (unquoted("'a b'"), unquoted('"a"'), unquoted("a\\ b"), unquoted("'")) == ("a b", "a", "a b", "'")


def test_prompts_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = PromptHistory(path)
    for prompt in ("one", "one", "two\nlines", " ", "drei ü"):
        history.add(prompt)
    assert path.stat().st_mode & 0o077 == 0
    with path.open("ab") as file:
        file.write(b'broken\n{"a": 1}\n')
    assert PromptHistory(path).prompts == ["one", "two\nlines", "drei ü"]
    path.write_text("".join(f'"{number}"\n' for number in range(3 * MAX_PROMPTS)))
    assert len(PromptHistory(path).prompts) == MAX_PROMPTS == len(path.read_text().splitlines())
    PromptHistory(tmp_path / "no" / "folder").add("x")
    PromptHistory(None).add("x")
