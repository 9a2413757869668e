"""The prompts that were entered, kept in the home for the next time."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

MAX_PROMPTS = 1000
MAX_PROMPT_CHARS = 100_000


class PromptHistory:
    """The prompts in a file, which only its owner can read. What cannot be read or written is left out.

    Parameters:
        path: the file; ``None`` to keep the prompts in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.prompts = self._read()
        """The prompts, the oldest first."""

    def add(self, prompt: str) -> None:
        """Add a prompt, unless it is empty or the last one again."""
        if not prompt.strip() or len(prompt) > MAX_PROMPT_CHARS or self.prompts[-1:] == [prompt]:
            return
        self.prompts.append(prompt)
        if self._path is not None:
            with (
                suppress(OSError),
                os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file,
            ):
                file.write(json.dumps(prompt) + "\n")

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return []
        if len(lines) > 2 * MAX_PROMPTS:
            lines = lines[-MAX_PROMPTS:]
            self._replace(lines)
        found: list[str] = []
        for line in lines:
            with suppress(ValueError):
                prompt: object = json.loads(line)
                if isinstance(prompt, str):
                    found.append(prompt)
        return found

    def _replace(self, lines: list[bytes]) -> None:
        assert self._path is not None
        new = self._path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(b"".join(line + b"\n" for line in lines))
            new.replace(self._path)
