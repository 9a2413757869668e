"""The file of the API tokens that a server accepts: one a line, readable only by its owner."""

from __future__ import annotations

import errno
import hmac
import logging
import os
import re
import stat
import time
from pathlib import Path

from ..credentials import TOKEN_PATTERN, ApiToken, new_api_token, parse_api_token
from ..errors import ConfigError
from ..page_contract import ListedToken
from ..platform.file_status import append_privately, can_be_read_by_others
from ..text_file import decode_text

MAX_NAME_CHARS = 60

_ABOUT = re.compile(
    r"# (?P<identifier>[A-Za-z0-9]{8}): created (?P<created>\d{4}-\d\d-\d\d)(?: for (?P<name>.+))?", re.ASCII
)
"""The comment that a token's line follows where its name is known."""

_log = logging.getLogger("studiolo.server")


class ApiTokenFile:
    """The API tokens in a file, which is read again when it changes.

    While the file is unusable, no API token is accepted.

    Parameters:
        path: the file; ``~`` is allowed.

    Raises:
        ConfigError: it cannot be read, other users can read it, it has no API token, or a line is not one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._seen = self._look()
        self._tokens = read_api_tokens(self.path)

    def accepts(self, identifier: str, passkey: str) -> bool:
        """Whether these are the parts of an API token in the file. Compares in constant time."""
        given = f"{identifier}:{passkey}".encode()
        known = False
        for token in self._current():
            known |= hmac.compare_digest(f"{token.identifier}:{token.passkey}".encode(), given)
        return known

    def identify(self, token: str) -> str | None:
        """Return the identifier of an API token in the file; ``None`` for any other text."""
        match = TOKEN_PATTERN.fullmatch(token)
        return match["identifier"] if match is not None and self.accepts(**match.groupdict()) else None

    def has(self, identifier: str) -> bool:
        """Return whether an API token in the file has this identifier."""
        return any(token.identifier == identifier for token in self._current())

    def listed(self) -> list[ListedToken]:
        """Return what is known of each API token in the file, in its order.

        Raises:
            ConfigError: the file cannot be used.
        """
        return list_api_tokens(self.path)

    def create(self, name: str) -> str:
        """Add an API token to the file, and return it. Raises as :func:`add_api_token`."""
        token = add_api_token(self.path, name)
        self._seen = None  # the times of files are coarse
        _log.info("the API token %s was created", token.identifier)
        return str(token)

    def revoke(self, identifier: str) -> None:
        """Remove an API token from the file. Raises as :func:`revoke_api_token`."""
        revoke_api_token(self.path, identifier)
        self._seen = None
        _log.info("the API token %s was revoked", identifier)

    def _current(self) -> list[ApiToken]:
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._tokens = read_api_tokens(self.path)
            except ConfigError as error:
                self._tokens = []
                _log.error("no client is accepted: %s", error)
        return self._tokens

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_mode


def read_api_tokens(path: Path, at_least: int = 1) -> list[ApiToken]:
    """Return the API tokens in a file: one a line. Empty lines, and those that begin with ``#``, are ignored.

    Parameters:
        path: the file.
        at_least: the number of API tokens that it must have.

    Raises:
        ConfigError: as :class:`ApiTokenFile`.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise ConfigError(
            f"The API tokens in {path} cannot be read",
            cause=error.strerror or str(error),
            suggestion=f"Create one with: studiolo server token {path}",
        ) from None
    except ValueError:
        raise ConfigError(f"{path} is not a file of API tokens", cause="Its path is not valid.") from None
    if can_be_read_by_others(status):
        raise ConfigError(
            f"Other users can read the API tokens in {path} (its mode is {stat.S_IMODE(status.st_mode):o})",
            suggestion=f"Run: chmod 600 {path}",
        )
    tokens = [
        parse_api_token(line, f"Line {number} of {path}")
        for number, line in enumerate(decode_text(content, str(path)).splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(tokens) < at_least:
        raise ConfigError(
            f"There is no API token in {path}", suggestion=f"Create one with: studiolo server token {path}"
        )
    return tokens


def list_api_tokens(path: Path) -> list[ListedToken]:
    """Return what is known of each API token in a file, in its order. Raises as :func:`read_api_tokens`."""
    tokens = read_api_tokens(path, at_least=0)
    lines = decode_text(path.read_bytes(), str(path)).splitlines()
    about = {found["identifier"]: found for line in lines if (found := _ABOUT.fullmatch(line.strip())) is not None}
    listed: dict[str, ListedToken] = {}
    for token in tokens:
        found = about.get(token.identifier)
        name, created = (found["name"] or "", found["created"]) if found is not None else ("", "")
        listed[token.identifier] = ListedToken(token.identifier, name, created)
    return list(listed.values())


def add_api_token(path: Path, name: str = "") -> ApiToken:
    """Create an API token and append it to a file, which is created if necessary, readable only by its owner.

    Parameters:
        name: what it is for, kept in a comment; at most 60 printable characters of it.

    Raises:
        ConfigError: the file is not a valid one, or cannot be written.
    """
    path = path.expanduser()
    if path.exists() and path.stat().st_size:
        read_api_tokens(path, at_least=0)
    token = new_api_token()
    kept = " ".join("".join(each if each.isprintable() else " " for each in name).split())[:MAX_NAME_CHARS].strip()
    about = f"# {token.identifier}: created {time.strftime('%Y-%m-%d')}" + (f" for {kept}" if kept else "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with append_privately(path) as file:
            size = file.seek(0, os.SEEK_END)
            line = f"{about}\n{token}\n".encode()
            if size:
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            try:
                if os.write(file.fileno(), line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:  # a part of a token would make the file invalid
                os.ftruncate(file.fileno(), size)
                raise
    except OSError as error:
        raise ConfigError(
            f"The API token cannot be written to {path}",
            cause=error.strerror or str(error),
            suggestion="Free some space, or name a file in a folder that is writable.",
        ) from None
    return token


def revoke_api_token(path: Path, identifier: str) -> None:
    """Turn the line of an API token into a comment of the same length, in place.

    What other programs append to the file meanwhile stays, and so do its owner, its mode and links to it.

    Raises:
        ConfigError: the file cannot be used, has no such API token, or no other one: a server does not start without.
    """
    path = path.expanduser()
    known = {token.identifier for token in read_api_tokens(path, at_least=0)}
    if identifier not in known:
        raise ConfigError(f"There is no API token {identifier!r} in {path}", suggestion="Reload the list.")
    if known == {identifier}:
        raise ConfigError(
            f"{identifier} is the last API token in {path}",
            cause="A server with a token file does not start without an API token.",
            suggestion="Create another one first.",
        )
    line = re.compile(rb"^(?:\xef\xbb\xbf)?[ \t]*(sk-lm-%b:[A-Za-z0-9]{20})" % identifier.encode(), re.MULTILINE)
    try:
        with path.open("r+b", buffering=0) as file:
            for found in line.finditer(file.read()):
                file.seek(found.start(1))
                file.write(f"# {identifier} was revoked".encode().ljust(len(found[1])))
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(
            f"The API token cannot be revoked in {path}",
            cause=error.strerror or str(error),
            suggestion="Remove its line by hand.",
        ) from None
