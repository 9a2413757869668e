"""The tokens that let clients in: a file of its owner's alone, one token a line."""

from __future__ import annotations

import hmac
import logging
import os
import stat
from pathlib import Path

from ..credentials import FORM, Token, new_token, parse_token
from ..errors import ConfigError
from ..platform.file_status import append_privately, can_be_read_by_others

_log = logging.getLogger("studiolo.server")


class TokenFile:
    """The tokens in a file, read again when it has changed.

    A file that becomes unusable lets nobody in until it is mended.

    Parameters:
        path: the file; ``~`` is allowed.

    Raises:
        ConfigError: it cannot be read, can be read by others than its owner, has no token, or a line that is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._seen = self._look()
        self._tokens = read_tokens(self.path)

    def accepts(self, identifier: str, passkey: str) -> bool:
        """Whether the two are the parts of a token of the file. Takes as long for any wrong one."""
        given = f"{identifier}:{passkey}".encode()
        known = False
        for token in self._current():
            known |= hmac.compare_digest(f"{token.identifier}:{token.passkey}".encode(), given)
        return known

    def accepts_bearer(self, header: str | None) -> bool:
        """Whether ``header``, the value of ``Authorization``, is ``Bearer`` and a token of the file."""
        scheme, _, text = (header or "").partition(" ")
        match = FORM.fullmatch(text.strip())
        return scheme.lower() == "bearer" and match is not None and self.accepts(**match.groupdict())

    def _current(self) -> list[Token]:
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._tokens = read_tokens(self.path)
            except ConfigError as error:
                self._tokens = []
                _log.error("nobody is let in: %s", error)
        return self._tokens

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_mode


def read_tokens(path: Path, at_least: int = 1) -> list[Token]:
    """The tokens in a file: one a line; empty lines, and those that begin with ``#``, are passed over.

    Raises:
        ConfigError: as :class:`TokenFile`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            lines = file.read().splitlines()
    except OSError as error:
        raise ConfigError(
            f"The tokens in {path} cannot be read",
            cause=error.strerror or str(error),
            suggestion=f"Make one with: studiolo server token {path}",
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path} is not a file of tokens", cause=str(error)) from None
    if can_be_read_by_others(status):
        raise ConfigError(
            f"Others than its owner can read the tokens in {path} (its mode is {stat.S_IMODE(status.st_mode):o})",
            suggestion=f"Run: chmod 600 {path}",
        )
    tokens = [
        parse_token(line, f"Line {number} of {path}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(tokens) < at_least:
        raise ConfigError(f"There is no token in {path}", suggestion=f"Make one with: studiolo server token {path}")
    return tokens


def add_token(path: Path) -> Token:
    """Make a token and write it to the end of a file, which is made where there is none, for its owner alone.

    Raises:
        ConfigError: the file is wrong, or cannot be written.
    """
    path = path.expanduser()
    if path.exists() and path.stat().st_size:
        read_tokens(path, at_least=0)
    token = new_token()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with append_privately(path) as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")
            file.write(f"{token}\n".encode())
    except OSError as error:
        raise ConfigError(f"The token cannot be written to {path}", cause=error.strerror or str(error)) from None
    return token
