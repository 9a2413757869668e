"""What a chat needs of a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Protocol

from ...errors import ConfigError
from .listener import Listener


class Terminal(Protocol):
    """Reads what the user enters and shows what there is to see."""

    def read(self) -> str:
        """Return what the user enters next, which may have several lines. Raise EOFError, KeyboardInterrupt."""
        ...

    def ask(self, question: str) -> str:
        """Return the answer to a question, one line. Raise EOFError, KeyboardInterrupt."""
        ...

    def confirm(self, question: str, cancelled: threading.Event) -> str:
        """Return the answer to a question, from any thread, while an answer comes; empty when ``cancelled`` is set."""
        ...

    def show(self, text: str) -> None:
        """Print lines that the user asked for."""

    def note(self, text: str) -> None:
        """Print a line about the chat."""

    def error(self, text: str) -> None:
        """Print what went wrong."""

    def markdown(self, text: str) -> None:
        """Print Markdown."""

    def thoughts(self, text: str) -> None:
        """Print reasoning."""

    def listener(self) -> Listener:
        """Return what shows the next answer."""
        ...


def edited(text: str) -> str:
    """Return ``text`` as the user has changed it in an editor. Raise :class:`ConfigError` where that fails."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="studiolo-") as folder:
        path = Path(folder, "prompt.md")
        path.write_text(text, "utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)
            return path.read_text("utf-8").strip("\n")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise ConfigError(
                f"The editor {editor!r} has failed", cause=str(error), suggestion="Set EDITOR to another one."
            ) from None
