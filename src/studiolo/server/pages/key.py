"""The key of the pages: a file that only the user can read. Links and sessions are signed with it."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from ...errors import ConfigError
from ...paths import Home, writing_remedy
from ...platform.file_status import append_privately, can_be_read_by_others

_FORM = re.compile(rb"[0-9a-f]{64}")


def read_key(home: Home) -> bytes | None:
    """Return the key; ``None`` if there is none.

    Raises:
        ConfigError: other users can read the file, or it is not a key.
    """
    path = home.page_key
    try:
        with path.open("rb") as file:
            return _checked(path, file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"The key of the pages, {path}, cannot be read", cause=error.strerror or str(error)) from None


def create_key(home: Home) -> bytes:
    """Return the key, which is made if there is none. Raises as :func:`read_key`."""
    path = home.page_key
    if (key := read_key(home)) is not None:
        return key
    home.create()
    try:
        with append_privately(path) as file:
            file.write(secrets.token_hex(32).encode())  # of two that write at once, the first counts
            file.flush()
            file.seek(0)
            return _checked(path, file)
    except OSError as error:
        raise ConfigError(
            f"The key of the pages, {path}, cannot be written",
            cause=error.strerror or str(error),
            suggestion=writing_remedy(error, home.root),
        ) from None


def _checked(path: Path, file: BinaryIO) -> bytes:
    status = os.fstat(file.fileno())
    if can_be_read_by_others(status):
        raise ConfigError(
            f"Other users can read the key of the pages, {path} (its mode is {stat.S_IMODE(status.st_mode):o})",
            suggestion=f"Remove it; studiolo ui makes another one: rm {path}",
        )
    key = file.read(64)
    if _FORM.fullmatch(key) is None:
        raise ConfigError(
            f"{path} is not a key of the pages", suggestion=f"Remove it; studiolo ui makes another one: rm {path}"
        )
    return key
