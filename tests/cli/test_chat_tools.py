"""Tools in ``studiolo chat``: MCP servers that stay connected, permission for each call, what is kept of it.

The model is a stub that follows a script.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from studiolo.cli.chat.interactive import Permission
from studiolo.cli.chat.journal import Recorder
from studiolo.cli.chat.model_commands import COMMANDS, use_tools_again
from studiolo.cli.chat.one_answer import announced
from studiolo.cli.chat.session import ChatSession
from studiolo.cli.chat.tools import REFUSED, ChatTools
from studiolo.domain.chat import Text, Tool, ToolCall, ToolResult
from studiolo.errors import ConfigError
from studiolo.mcp import config as mcp_config
from studiolo.paths import Home
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.sync_models import LLM
from studiolo.sdk.tools import BoundTool
from studiolo.store.conversation import Conversation
from tests.support.chatting import TypedTerminal
from tests.support.interrupts import interrupted_when
from tests.support.scripted_host import ANSWER, StubClient, call, says, success


class Tools(ChatTools):
    """Tools that need no server."""

    def __init__(self, terminal: TypedTerminal, calls: list[Any]) -> None:
        super().__init__(Permission(terminal).allows)

        def add(**arguments: Any) -> Any:
            calls.append(arguments)
            return sum(arguments.values())

        self._tools = [tool("add", add)]


def tool(name: str, call: Callable[..., Any]) -> BoundTool:
    return BoundTool(definition=Tool(name, "Add."), arguments=dict, call=call, is_async=False)


def session_on(script: list[list[Any]], tools: ChatTools) -> ChatSession:
    client: Any = StubClient(script)
    session = ChatSession(client, Recorder(None, print), Conversation(model="m"))
    session.llm = LLM(AsyncLLM("m", client, "llm"))
    session.tools = tools
    return session


def test_a_call_is_made_when_the_user_allows_it_and_kept_with_its_result() -> None:
    calls: list[Any] = []
    terminal = TypedTerminal(answers=["y"])
    script = [[*says("Hm."), *call("add", a=1, b=2), success()], ANSWER]
    session = session_on(script, Tools(terminal, calls))
    session.ask([Text("1+2?")], terminal)
    assert calls == [{"a": 1, "b": 2}]
    question, request, result, answer = session.branch
    assert [each.role for each in session.branch] == ["user", "assistant", "tool", "assistant"]
    assert request.parts == [Text("Hm."), ToolCall("add", {"a": 1, "b": 2}, "call0")]
    assert result.parts == [ToolResult("3", "call0", "add")] and answer.text == "Done." and question.parent is None
    shown = terminal.shown
    assert (
        shown.index("Hm.") < shown.index("Call add(a=1, b=2)? [y]es, [n]o, [a]lways: ") < shown.index("add returned 3")
    )


def test_a_call_is_refused_or_always_allowed() -> None:
    calls: list[Any] = []
    terminal = TypedTerminal(answers=["n", "", "always"])
    rounds = [[*call("add", number, a=number), success()] for number in range(4)]
    session = session_on([*rounds, ANSWER], Tools(terminal, calls))
    session.ask([Text("?")], terminal)
    results = [part.content for message in session.branch for part in message.parts if isinstance(part, ToolResult)]
    assert [json.loads(each) for each in results] == [REFUSED, REFUSED, 2, 3] and calls == [{"a": 2}, {"a": 3}]
    assert terminal.answers == [] and "Calls add(a=3)" in terminal.said()


def test_an_answer_that_is_stopped_while_a_call_waits_for_permission_calls_nothing() -> None:
    calls: list[Any] = []
    asked = threading.Event()

    class Waiting(TypedTerminal):
        def confirm(self, question: str, cancelled: threading.Event) -> str:
            asked.set()
            return "y" if cancelled.wait(20) else "n"

    terminal = Waiting()
    session = session_on([[*says("Hm."), *call("add", a=1), success()]], Tools(terminal, calls))
    with interrupted_when(asked.is_set):
        session.ask([Text("?")], terminal)
    assert [(message.text, message.stop_reason) for message in session.branch[1:]] == [("Hm.", "userStopped")]
    assert calls == []


def test_stub_servers_of_mcp_json_stay_connected_until_they_are_turned_off(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {"calc": {"command": "x"}, "web": {"url": "http://x"}, "off": {"command": "x", "disabled": True}}
    (empty_home.root / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    connected: list[list[str]] = []

    @contextlib.contextmanager
    def connect(names: list[str]) -> Iterator[dict[str, BoundTool]]:
        mcp_config.server_configs(names)
        connected.append([*names])
        yield {name: tool(name, lambda **given: f"{given}") for name in names}
        connected.append([])

    monkeypatch.setattr("studiolo.cli.chat.tools.mcp_tools_from_thread", connect)
    terminal = TypedTerminal()
    with contextlib.closing(ChatTools(announced)) as tools:
        session = session_on([], tools)
        chat: Any = SimpleNamespace(session=session, tools=tools, terminal=terminal)
        command = next(each for each in COMMANDS if each.names == ("tools",))
        command.run(chat, "")
        assert terminal.said().splitlines() == ["  calc", "  web", "The model may call: no tools."]
        command.run(chat, "calc")
        command.run(chat, "web")
        assert connected == [["calc"], [], ["calc", "web"]] and session.conversation.tools == ["calc", "web"]
        command.run(chat, "")
        assert terminal.said().splitlines()[-3:] == ["* calc", "* web", "The model may call: calc, web."]
        command.run(chat, "calc")
        assert tools.names == ["web"]
        with pytest.raises(ConfigError, match="no MCP server 'nope'"):
            command.run(chat, "nope")
        assert tools.names == [] and session.conversation.tools == ["web"]
        session.change(tools=["gone"])
        use_tools_again(chat)
        assert "no MCP server 'gone'" in terminal.said()
        command.run(chat, "off")
        assert tools.names == [] == session.conversation.tools
    assert connected[-1] == []


def test_with_one_answer_calls_are_announced_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert announced("add", {"a": 1}, threading.Event())
    assert capsys.readouterr().err == "Calls add(a=1)\n"
