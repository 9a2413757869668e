"""``studiolo chat`` on a pseudo-terminal, on the fake engine: keys, Ctrl-C, tools, the end of the process, resuming."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studiolo.paths import Home
from tests.support.chatting import command, home_of_fakes
from tests.support.command_line import MCP_SERVER
from tests.support.fake_models import add_model
from tests.support.pseudo_terminal import TypedProgram, typed_program
from tests.support.running import environment

pytestmark = pytest.mark.slow

ENGINE = str(Path(__file__).parents[1] / "support" / "fake_engine")

PROGRAM = """
import studiolo_fake_engine as fake
tiny = fake.models["tiny"]
tiny.answers = [
    ["<think>", "Hm, ", "bees.", "</think>", "# Bees\\n\\n", "They ", "make **honey**", ".\\n\\n", "The ", "end."],
    [*(f"{number} " for number in range(1000))],
    ["Both ", "lines."],
]
tiny.tokens, tiny.token.sec = ["more "] * 1000, 0.02
from studiolo.cli.main import main
main()
"""

TOOLS = """
import json
import studiolo_fake_engine as fake
def call(name, /, **arguments):
    return ["[TOOL_REQUEST]", json.dumps({"name": name, "arguments": arguments}), "[END_TOOL_REQUEST]"]
fake.models["slow"].load.sec = 600
fake.models["tiny"].answers = [
    ["Let ", "me ", "see. ", *call("multiply", a=6, b=7)], ["It ", "is ", "42."],
    call("multiply", a=2, b=3), ["Not ", "allowed."],
    call("multiply", a=2, b=4), call("multiply", a=2, b=5), ["8 ", "and ", "10."],
    call("greet", name="Ann"),
    ["Still ", "here."],
]
from studiolo.cli.main import main
main()
"""

PROMPT = r">>>"


@contextlib.contextmanager
def chat(home: Home, *words: str, script: str = PROGRAM, **variables: str) -> Iterator[TypedProgram]:
    settings = environment(home, STUDIOLO_HOST="embedded", PROMPT_TOOLKIT_NO_CPR="1", TERM="xterm", **variables)
    settings["PYTHONPATH"] = f"{ENGINE}:{settings['PYTHONPATH']}"
    with typed_program([sys.executable, "-c", script, "chat", *words], settings) as program:
        yield program


def test_keys_on_a_terminal_ctrl_c_and_the_end_by_kill_9(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_of_fakes(empty_home, monkeypatch)
    with chat(home) as program:
        assert "tiny answers" in program.until(PROMPT)
        program.type("What do bees do?\r")
        shown = program.until(r"The end\.(?s:.*)>>>")
        assert "Thought for" in shown and "They make honey." in shown and "Hm, bees." not in shown
        program.type("/reas\t")
        program.until("oning")
        program.type("\r")
        assert "Hm, bees." in program.until(r"Hm, bees\.(?s:.*)>>>")
        program.type("Count.\r")
        program.until("5 ")
        program.type("\x03")
        assert "(stopped" in program.until(r"stopped;(?s:.*)>>>")
        program.type("not asked\x03")
        program.until(r"Ctrl-D ends(?s:.*)>>>")
        program.type("one\x1b\rtwo\r")  # Alt-Enter
        program.until(r"Both lines\.(?s:.*)>>>")
        program.type("\x1b[A\x1b[A\x1b[A")  # the arrow keys find earlier questions
        program.until("Count")
        program.type("\x03")
        program.until(PROMPT)
        program.type("Never ends?\r")
        program.until("more more")
        program.kill()
    (kept,) = json.loads(command(monkeypatch, "chats", "list", "--json").out)
    exported = json.loads(command(monkeypatch, "chats", "export", kept["id"], "-f", "json").out)
    messages = [(each["role"], each["parts"][0]["text"], each.get("stop_reason")) for each in exported["messages"]]
    assert [role for role, _, _ in messages] == ["user", "assistant", "user", "assistant", "user", "assistant", "user"]
    assert messages[3][1].startswith("0 1 2 3 4 ") and "999 " not in messages[3][1] and messages[3][2] == "userStopped"
    assert messages[4][1:] == ("one\ntwo", None) and messages[6][1:] == ("Never ends?", None)
    assert '"one\\ntwo"' in home.chat_history.read_text() and "not asked" not in home.chat_history.read_text()

    with chat(home, "--continue", "--plain", "--stats") as program:  # what a screen reader gets
        resumed = program.until(PROMPT + r" (?!\w)")
        assert ">>> one\r\ntwo\r\nBoth lines." in resumed and "no answer: /retry" in resumed
        program.type("/set max_tokens 6\r")
        program.until(r"max_tokens = 6\r\n>>> ")
        program.type('"""\rnext\r"""\r')
        assert "Thinking...\r\n# Bees\r\n\r\nThey \r\n(ended:" in program.until(r"6 out(?s:.*)>>> ")
        program.type("\x04")
        assert "studiolo chat -c" in program.rest() and program.process.returncode == 0
        assert not re.findall(r"\x1b(?!\[\?2004)", program.everything.decode())  # readline's alone


def test_tools_are_allowed_on_a_terminal_and_ctrl_c_stops_questions_and_loads(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of_fakes(empty_home, monkeypatch)
    add_model(home, "slow")
    calc = {"command": sys.executable, "args": [MCP_SERVER]}
    (home.root / "mcp.json").write_text(json.dumps({"mcpServers": {"calc": calc}}))
    asks = r"\[a\]lways: "
    with chat(home, "tiny", "--tools", "calc", script=TOOLS) as program:
        assert "The model may call: multiply, greet" in program.until(PROMPT)
        program.type("6 * 7?\r")
        assert "Let me see." in program.until(rf"Call multiply\(a=6, b=7\)\?(?s:.*){asks}")
        program.type("y\r")
        shown = program.until(r"42\.(?s:.*)>>>")
        assert "multiply returned: " in shown and "It is 42." in shown
        program.type("2 * 3?\r")
        program.until(asks)
        program.type("no\r")
        assert "did not allow this call" in program.until(r"allowed\.(?s:.*)>>>")
        program.type("2 * 4 and 2 * 5?\r")
        program.until(asks)
        program.type("a\r")
        assert "Calls multiply(a=2, b=5)" in program.until(r"and 10\.(?s:.*)>>>")
        program.type("Who is Ann?\r")
        program.until(rf"greet(?s:.*){asks}")
        program.type("\x03")
        program.until(r"stopped;(?s:.*)>>>")
        program.type("/model slow\r")  # at once: the question before must not take it
        program.until("loading slow")
        program.type("\x03")
        program.until(r"\(stopped\)(?s:.*)>>>")
        program.type("Are you there?\r")
        program.until(r"Still here\.(?s:.*)>>>")
        program.type("/tools\r")
        assert "* calc" in program.until(r"may call: multiply(?s:.*)>>>")
        program.type("/tools calc\r")
        program.until(r"may call: no tools\.(?s:.*)>>>")
        program.type("\x04")
        program.rest()
        assert program.process.returncode == 0
