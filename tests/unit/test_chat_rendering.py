"""How ``studiolo chat`` shows answers: plain, and as Markdown that grows."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.console import Console

from studiolo.cli.chat.completion import CommandCompleter
from studiolo.cli.chat.fences import is_open, without_fences
from studiolo.cli.chat.interactive import can_redraw
from studiolo.cli.chat.markdown_output import MAX_REDRAWN_CHARS, MarkdownListener, new_console, split_blocks
from studiolo.cli.chat.plain_output import MAX_SHOWN_CHARS, PlainListener, call_line, shortened, without_controls
from tests.support.chatting import Pipe

ANSWER = """# Bees

Bees make **honey**, see [this](https://example.org).

```python
def f(x):
    return x
```

| a | b |
|---|---|
| 1 | 2 |

- one
- two
"""


def shown(text: str, *, width: int = 80, step: int = 7, reasoning: str = "", **options: bool) -> str:
    """Return what a terminal gets of an answer that comes in pieces."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=24, highlight=False, legacy_windows=False)
    listener = MarkdownListener(console, show_reasoning=options.get("show_reasoning", False))
    listener.waiting(0.5)
    if reasoning:
        listener.fragment(reasoning, is_reasoning=True)
    for at in range(0, len(text), step):
        listener.fragment(text[at : at + step], is_reasoning=False)
    listener.round_ended()
    return file.getvalue()


def last_screen(output: str) -> str:
    """Return the lines that stay: each that is erased or drawn over is gone."""
    lines, row = [""], 0
    for piece in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece.endswith("A") and piece.startswith("\x1b"):
            row -= int(piece[2:-1] or 1)
        elif piece.endswith("K") and piece.startswith("\x1b"):
            lines[row] = ""
        elif not piece.startswith("\x1b") and piece != "\r":
            lines[row] += piece
    return "\n".join(line.rstrip() for line in lines)


@pytest.mark.parametrize("step", [3, 1000])
def test_every_block_is_printed_once_however_the_answer_comes(step: int) -> None:
    screen = last_screen(shown(ANSWER, step=step))
    for part in ("Bees", "Bees make honey, see this (https://example.org).", "def f(x):", "return x", "one", "two"):
        assert len(re.findall(rf"(?m)^\W*{re.escape(part)}\W*$", screen)) == 1, (part, screen)
    assert "**" not in screen and "```" not in screen and "|---" not in screen


def test_code_is_highlighted_in_the_colours_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(r"\x1b\[9\dmdef", shown(ANSWER))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*(?:3|4|9|10)\dm", shown(ANSWER))
    assert new_console().no_color


def test_lines_fit_in_the_width(width: int = 40) -> None:
    screen = last_screen(shown("word " * 100, width=width))
    assert max(map(len, screen.splitlines())) <= width and screen.count("word") == 100


def test_reasoning_is_folded_or_dimmed() -> None:
    folded = last_screen(shown("Two.", reasoning="Let me add."))
    assert "Thought for 0 s, 3 words" in folded and "Let me" not in folded and "Two." in folded
    full = shown("Two.", reasoning="Let me add.", show_reasoning=True)
    assert "\x1b[2mLet me add.\x1b[0m" in full and "Two." in full
    assert "Thought for" in last_screen(shown("", reasoning="Stopped in"))


def test_a_long_block_is_printed_whole_when_it_ends() -> None:
    lines = [f"line {number}" for number in range(MAX_REDRAWN_CHARS // 5)]
    screen = last_screen(shown("```\n" + "\n".join(lines) + "\n```\n", step=500))
    assert [line.strip() for line in screen.splitlines() if "line" in line] == lines


def test_an_answer_cannot_steer_the_terminal() -> None:
    assert without_controls("a\x1b]0;t\x07\r\nb\tc\x9b1m\u200d") == "a\\x1b]0;t\\x07\nb\tc\\x9b1m\u200d"
    assert "\x1b]0" not in shown("x \x1b]0;title\x07 y") and shortened("a\nb\x1b") == "a b\\x1b"
    assert len(shortened("x" * 1000)) == MAX_SHOWN_CHARS + 1 and call_line("f", {"a": "ü"}) == 'f(a="ü")'


def test_blocks_that_have_ended() -> None:
    assert split_blocks("one\n") == ("", "one\n") and split_blocks("") == ("", "")
    assert split_blocks("one\n\ntwo") == ("one\n\n", "two")
    assert split_blocks("one\n\n```\na\n\nb\n") == ("one\n\n", "```\na\n\nb\n")
    assert split_blocks("- a\n\n- b\n") == ("", "- a\n\n- b\n")


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [("show", "Thinking:\nHm.\n\nTwo.\n"), ("fold", "Thinking...\nTwo.\n"), ("hide", "Two.\n")],
)
def test_plain_text_is_appended(reasoning: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    listener = PlainListener(reasoning=reasoning)  # type: ignore[arg-type]
    listener.waiting(0.5)
    for text, is_reasoning in (("H", True), ("m.", True), ("\n", False), ("\nTwo", False), (".", False)):
        listener.fragment(text, is_reasoning=is_reasoning)
    listener.round_ended()
    assert capsys.readouterr().out == expected


def test_a_program_gets_the_answer_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    listener = PlainListener(reasoning="hide", is_exact=True)
    listener.fragment("\n\x1b[1m", is_reasoning=False)
    listener.round_ended()
    assert capsys.readouterr().out == "\n\x1b[1m\n"


def test_a_terminal_that_cannot_redraw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Pipe(is_terminal=True))
    for term, expected in (("xterm-256color", True), ("dumb", False), ("", False)):
        monkeypatch.setenv("TERM", term)
        assert can_redraw() is expected
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", Pipe())
    assert not can_redraw()


def test_a_question_between_fences() -> None:
    assert (
        is_open('"""') and is_open('"""a\nb') and not is_open('"""a\nb"""') and not is_open('a """') and is_open('""""')
    )
    assert without_fences('"""\na\n b\n"""') == "a\n b" and without_fences(" a ") == " a "


def test_the_tab_key_completes_commands_settings_and_files(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    completer = CommandCompleter(["set", "save", "file"], {"set": lambda: ["seed", "temperature"]}, ["file"])

    def completed(text: str) -> list[str]:
        return [each.text for each in completer.get_completions(Document(text), CompleteEvent())]

    assert completed("/s") == ["save", "set"] and completed("/set te") == ["temperature"] and completed("hello") == []
    assert (
        completed(f"/file {tmp_path}/no") == ["tes.md"]
        and completed("/set seed 1") == []
        and completed("/nope x") == []
    )
