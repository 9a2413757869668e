"""``studiolo chat`` as it is: the real program on a pseudo-terminal of 80 columns, a real server, real models.

What is asked about the text of answers is asked on the fake engine, in ``test_chat_terminal.py``.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studiolo.cli.chat.commands import help_text, is_command
from studiolo.cli.chat.loop import COMMANDS
from studiolo.domain.chat import Text
from studiolo.paths import Home
from studiolo.store.conversation import Conversation, ConversationMessage, MessageTree
from studiolo.store.conversation_export import as_json
from tests.support.chatting import picture
from tests.support.command_line import MCP_SERVER, good, run
from tests.support.homes import DEFAULT_MODEL, ENDLESS
from tests.support.pseudo_terminal import TypedProgram, typed_program
from tests.support.running import STUDIOLO, Server, environment

SMALL = "load = { context_length = 2048 }\nprediction = { max_tokens = 4 }\n"
pytestmark = [
    pytest.mark.quick_model,
    pytest.mark.slow,
    pytest.mark.server(
        models=["vision_model"], settings=f'[models."{DEFAULT_MODEL}"]\n{SMALL}[models."tiny-vision"]\n{SMALL}'
    ),
]

CONVERSATION = (
    ("/system", "There is no system prompt."),
    ("/system Be brief.", "Be brief."),
    ("/stats", "There are no statistics of the last answer. 0 messages on this branch, 0 in all"),
    ("/save", "This conversation is not stored. /save FILE writes it to a file, .md or .json."),
    ("/undo", "There is no question yet in this conversation."),
    ("/retry", "There is no question yet in this conversation."),
    ("/branch", "There are no messages yet."),
    ("First?", r"\(ended: maxPredictedTokensReached\)"),
    ("/stats", rf"{DEFAULT_MODEL} \| \d+ tokens in, 4 out \| .* 2 messages on this branch, 2 in all"),
    ("/stats on", "Statistics are printed after each answer."),
    ("/retry", r"\(ended: maxPredictedTokensReached\) smollm2.* 4 out"),
    ("/stats off", "Statistics are not printed."),
    ("/branch", r"1 2 messages, the last: .*\* 2 2 messages, the last: "),
    ("/branch 1", ">>> First?"),
    ("/branch 9", "There is no branch '9'. /branch lists the branches."),
    ("/branch one", "There is no branch 'one'. /branch lists the branches."),
    ("/set", "Every setting has its default."),
    ("/set temperature 0.2", "temperature = 0.2"),
    ("/set seed = 3", "temperature = 0.2 seed = 3"),
    ("/set seed", "seed = 3"),
    ("/unset seed", "^temperature = 0.2$"),
    ("/set temperatur 1", "no field 'temperatur'. Did you mean 'temperature'?"),
    ("/set temperature hot", "field 'temperature' is wrong. Expected 'float | null', got 'str'."),
    ("/set max_tokens 0", "max_tokens"),
    ("/unset colour", "no field 'colour'"),
    ("/preset", "config.toml in the home has no presets."),
    ("/preset warm", "There is no preset 'warm'. There are none. Write it into config.toml, under"),
    ("/unset", "/unset needs the name of a setting. /set lists those that are set."),
    ("/file bees.txt", "The next question takes along: bees.txt."),
    ("What do bees make?", "(ended: |^.)"),
    ("/file", "The next question takes along: nothing."),
    ("/file none.txt", "The file 'none.txt' cannot be read. No such file or directory."),
    ("/file .", "The file '.' cannot be read. Is a directory."),
    ("/file noise.bin", "noise.bin"),
    ("/image bees.txt", "not an image"),
    ("/image none.png", "The file 'none.png' cannot be read. No such file or directory."),
    ("/image 'a red one.png'", "The next question takes along: a red one.png."),
    ("Is it red?", rf"{DEFAULT_MODEL} cannot see the image 'a red one.png': it is a model without vision."),
    ("/model", rf"\* {DEFAULT_MODEL} tiny-vision"),
    ("/model nothing", "No model matches 'nothing'. List the models with: studiolo ls."),
    ("/model tiny-vision", "tiny-vision answers."),
    ("/retry", "(ended: |^.)"),
    ("/undo", r"Taken back: Is it red\?"),
    ("/tools", "^calc The model may call: no tools.$"),
    ("/tools nothing", "There is no MCP server 'nothing'."),
    ("/tools off", "The model may call: no tools."),
    ("/title", "First?"),
    ("/title About bees", "About bees"),
    ("/show", r">>> First\? .*>>> What do bees make\? +\[bees.txt\]"),
    ("/reasoning", "The last answer has no reasoning."),
    ("/edit Written", r">>> Written, in an editor\. "),
    ("/save", "Stored as [0-9a-f]+: studiolo chat --conversation [0-9a-f]+"),
    ("/save kept.json", "The conversation is in kept.json."),
    ("/save kept.md", "The conversation is in kept.md."),
    ("/save no/kept.md", "The file 'no/kept.md' cannot be written. No such file or directory."),
    ("/new", "A new conversation begins, with the same model and settings."),
    ("/load", "^[0-9a-f]+ About bees$"),
    ("/load nothing", "There is no conversation 'nothing'. studiolo chats lists the conversations."),
    ("/load none.json", "The file 'none.json' cannot be read. No such file or directory."),
    ("/load bees.txt", "bees.txt is not an exported conversation"),
    ("/load kept.json", ">>> First?"),
    (
        "/load gone.json",
        r">>> Hello\? The last question has no answer: /retry asks again\. .*'gone'.* tiny-vision answers\.",
    ),
    ("/model", r"\* tiny-vision"),
    ("/hlp", r"There is no command /hlp\. Did you mean /help\?"),
    ("/xyzzy", r"There is no command /xyzzy\. /help lists the commands\."),
    ("/help", "/system .*/bye .*Ctrl-D ends the chat."),
)
"""What is typed, and a pattern of what is shown then, in one line. ``/bye`` ends it."""

STARTS = r"\x1b\[\?2004h"
"""The beginning of a prompt: pasted text is marked from now on."""

ENDS = r"\x1b\[\?2004l"


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the program runs in, with files to attach; ``mcp.json`` names a server."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "a red one.png").write_bytes(picture())
    (folder / "bees.txt").write_text("Bees make honey.")
    (folder / "noise.bin").write_bytes(bytes(range(256)))
    (folder / "editor.py").write_text("import sys; open(sys.argv[1], 'a').write(', in an editor.\\n')")
    (folder / "schema.json").write_text('{"enum": [{"red": true}]}')
    question = ConversationMessage(role="user", parts=[Text("Hello?")])
    gone = Conversation(title="Gone", model="gone", head=question.id)
    (folder / "gone.json").write_text(as_json(gone, MessageTree([question])))
    calc = {"command": sys.executable, "args": [MCP_SERVER]}
    (server.log.parent / "home" / "mcp.json").write_text(json.dumps({"mcpServers": {"calc": calc}}))
    return folder


def enter(program: TypedProgram, line: str) -> str:
    """Type a line; return what is shown then, up to the next prompt."""
    program.type(f"{line}\r")
    program.until(ENDS)
    return program.until(STARTS).replace("\r\n", "\n")


def in_one_line(shown: str) -> str:
    return " ".join(shown.split())


@contextlib.contextmanager
def chat(server: Server, folder: Path, *words: str, **variables: str) -> Iterator[TypedProgram]:
    home = Home(server.log.parent / "home")
    variables = {"STUDIOLO_HOST": server.address, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"} | variables
    variables["VISUAL"] = f"{sys.executable} editor.py"
    with typed_program([*STUDIOLO, *words], environment(home, **variables), folder) as program:
        yield program


def test_every_command_on_a_terminal(server: Server, folder: Path) -> None:
    with chat(server, folder, "chat") as program:
        assert f"1  {DEFAULT_MODEL}" in program.until("last used one:")
        program.type("9\r")
        assert "The list has no number 9." in program.until("list has no(?s:.*)last used one:")
        program.type("smol\r")
        assert f"{DEFAULT_MODEL} answers." in program.until(f"answers(?s:.*){STARTS}")
        for line, pattern in CONVERSATION:
            shown = enter(program, line)
            assert re.search(pattern, in_one_line(shown)), f"{line}: {shown}"
            drawn = [part for each in shown.split("\n") for part in each.split("\r")]
            assert max(len(each.rstrip()) for each in drawn) <= 80, f"{line}: {shown}"
        enter(program, f"/model {DEFAULT_MODEL}")  # one that sees has an end, at its context
        for name in ("context_overflow_policy", "logit_bias"):
            enter(program, f"/set {name} {json.dumps(ENDLESS[name])}")
        program.type("/set max_tokens false\rNever ends?\r")
        program.until(rf"{ENDS}(?s:.*){ENDS}(?s:.*?)[a-z]{{3}}")
        program.type("\x03")
        assert "(stopped; /retry asks again)" in program.until(f"stopped(?s:.*?){STARTS}")
        assert "(stopped)" in enter(program, "/show")
        program.type("/bye\r")
        assert "studiolo chat -c" in in_one_line(program.rest()) and program.process.returncode == 0
    assert (folder / "kept.md").read_text().startswith("# About bees")


def test_the_conversation_has_every_command_of_help() -> None:
    listed = {line.split()[0] for line in help_text(COMMANDS).splitlines() if line.startswith("/")}
    assert {line.split()[0] for line, _ in CONVERSATION if line in listed or is_command(line)} >= listed - {"/bye"}
    assert listed == {f"/{command.names[0]}" for command in COMMANDS}


def test_an_answer_to_a_pipe_is_continued_on_a_terminal_without_colours(server: Server, folder: Path) -> None:
    home = Home(server.log.parent / "home")
    words = ("chat", DEFAULT_MODEL, "-p", "As JSON:", "--json", "--stats", "--set", "max_tokens=40")
    done = run(home, *words, "--schema", str(folder / "schema.json"), stdin="Red?", host=server.address)
    answer = json.loads(good(done))
    assert answer["parsed"] == {"red": True} and json.loads(answer["content"]) == {"red": True}
    assert " tok/s | " in done.stderr and answer["prediction_config"]["max_tokens"] == 40
    with chat(server, folder, "chat", "--continue", NO_COLOR="1") as program:
        resumed = program.until(STARTS)
        assert ">>> As JSON:\r\n\r\nRed?" in resumed and '{"red":' in resumed
        assert "max_tokens = 40" in enter(program, "/set")
        enter(program, "/set max_tokens 4")
        assert "two\nlines\n" in enter(program, "/system two\x1b\rlines")  # Alt-Enter
        assert "of a\nfence\n" in enter(program, '"""/system of a\rfence"""')
        assert "pasted\nlines\n" in enter(program, "\x1b[200~/system pasted\nlines\x1b[201~")
        assert "two\nlines\n" in enter(program, "\x12two\r")  # Ctrl-R finds it
        program.type("/system more\x18\x05")  # the editor adds to the line and ends it
        program.until(rf"{ENDS}more, in an editor\.\r\n{STARTS}")
        assert "beginning" in enter(program, "/title The beginning")
        program.type("/model tiny\t")  # Tab completes models, and files
        program.until("-vision")
        assert "tiny-vision answers." in enter(program, "")
        program.type("/file be\t")
        program.until("es.txt")
        assert "takes along: bees.txt" in enter(program, "")
        program.type("\x04")
        assert "studiolo chat -c" in program.rest()
        assert not re.search(rb"\x1b\[(?:\d+;)*(?:3|4|9|10)\d(?:;\d+)*m", program.everything)
    with chat(server, folder, "chats") as program:
        table = program.rest().splitlines()
        assert table[0].split() == ["ID", "CHANGED", "MODEL", "TITLE"] and "The beginning" in table[1]


def test_what_cannot_begin_says_why_on_a_terminal(server: Server, folder: Path) -> None:
    with chat(server, folder, "chat", "nothing") as program:
        shown = in_one_line(program.rest())
        assert "No model matches 'nothing'" in shown and "Traceback" not in shown
        assert program.process.returncode == 1


def test_a_dumb_terminal_gets_lines_without_escape_sequences(server: Server, folder: Path) -> None:
    with chat(server, folder, "chat", DEFAULT_MODEL, "--no-store", TERM="dumb") as program:
        for line, pattern in (
            ("/set max_tokens 3", r"max_tokens = 3\r\n"),
            ("Hello?", r"\(ended: maxPredictedTokensReached\)\r\n"),
            ("/xyzzy", r"There is no command /xyzzy. /help lists the commands.\r\n"),
            ("/image bees.txt", "not an image"),
            ("/save", "This conversation is not stored."),
            ("/load", r"It was started with --no-store, or they cannot be opened\. /load FILE"),
            ("/help", r"Ctrl-D ends the chat.\r\n"),
        ):
            program.until(">>> ")
            program.type(f"{line}\r")
            program.until(pattern)
        program.until(">>> ")
        program.type("\x04")
        program.rest()
        assert b"\x1b" not in program.everything and program.process.returncode == 0
    history = Home(server.log.parent / "home").chat_history
    assert not history.exists() or "Hello?" not in history.read_text()
