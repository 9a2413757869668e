"""``studiolo chat`` in the tests' own process, on the fake engine; and a terminal that a test types on."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import studiolo_fake_engine as fake
from PIL import Image

from studiolo.cli import main
from studiolo.paths import Home
from tests.support.fake_host import SETTINGS
from tests.support.fake_models import add_model


def home_of_fakes(home: Home, patch: pytest.MonkeyPatch) -> Home:
    """Give a home a fake model that sees images and holds answers to schemas, and an embedding model."""
    patch.setenv("STUDIOLO_HOST", "embedded")
    able = msgspec.structs.replace(fake.CAPABILITIES, vision=True, grammars=frozenset({"json_schema"}))
    patch.setattr(fake, "CAPABILITIES", able)
    patch.setattr(fake.FakeEngine, "capabilities", able)
    home.settings.write_text(SETTINGS)
    add_model(home, "tiny", vision=True)
    add_model(home, "vectors", architecture="bert")
    fake.reset()
    return home


def prompt_of(number: int = -1) -> str:
    """Return a prompt that the fake model ``tiny`` got."""
    prompts = [request.prompt for engine in fake.engines if engine.key == "tiny" for request in engine.requests]
    return str(prompts[number])


def picture() -> bytes:
    """Return a small image file."""
    file = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(file, "PNG")
    return file.getvalue()


class Pipe(io.TextIOWrapper):
    """Standard input or output that is a pipe with this content, or a terminal."""

    def __init__(self, content: bytes = b"", *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", write_through=True)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def said(self) -> str:
        self.flush()
        buffer: Any = self.buffer
        return buffer.getvalue().decode()


@dataclass(frozen=True)
class Done:
    """What a command has printed, and its exit status."""

    status: int
    out: str
    err: str


def command(patch: pytest.MonkeyPatch, *words: str, stdin: bytes = b"", is_terminal: bool = False) -> Done:
    """Run a command; ``is_terminal`` says what standard input and output are."""
    out, err = Pipe(is_terminal=is_terminal), Pipe()
    with patch.context() as within:
        within.setattr(sys, "argv", ["studiolo", *words])
        within.setattr(sys, "stdin", Pipe(stdin, is_terminal=is_terminal))
        within.setattr(sys, "stdout", out)
        within.setattr(sys, "stderr", err)
        status = main._run()
    return Done(status, out.said(), err.said())


@dataclass
class TypedTerminal:
    """A terminal on which a test types, line by line. See :class:`studiolo.cli.chat.terminal.Terminal`.

    Parameters:
        lines: what is typed; at the end of them, so does the input end. A function is called for its line.
        answers: what is typed when a call of a tool is to be allowed.
        on_fragment: called with each fragment that is shown.
    """

    lines: list[str | Callable[[], str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    on_fragment: Callable[[str], None] = lambda text: None
    shown: list[str] = field(default_factory=list)

    def read(self) -> str:
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        return line if isinstance(line, str) else line()

    def ask(self, question: str) -> str:
        self.shown.append(question)
        return self.read()

    def confirm(self, question: str, cancelled: threading.Event) -> str:
        self.shown.append(question)
        return self.answers.pop(0)

    def show(self, text: str) -> None:
        self.shown.append(text)

    note = error = markdown = thoughts = show

    def listener(self) -> TypedTerminal:
        return self

    def waiting(self, processed: float) -> None: ...

    def fragment(self, text: str, *, is_reasoning: bool) -> None:
        self.shown.append(f"({text})" if is_reasoning else text)
        self.on_fragment(text)

    def round_ended(self) -> None: ...

    def tool_returned(self, name: str, content: str) -> None:
        self.shown.append(f"{name} returned {content}")

    def said(self) -> str:
        """Return what was shown since the last call."""
        text = "\n".join(self.shown)
        self.shown.clear()
        return text
