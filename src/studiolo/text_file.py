"""Read text files that people write: UTF-8, with or without a byte order mark; other encodings are refused by name."""

from __future__ import annotations

import codecs
from pathlib import Path

from .errors import ConfigError

_MARKS = (  # the mark of UTF-32 begins with the mark of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text_file(path: Path) -> str:
    """Return the text in a file. A UTF-8 byte order mark is left out.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it cannot be read, or is not UTF-8; the error names the encoding that it seems to have.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(f"{path} cannot be read", cause=reason or str(error)) from error
    return decode_text(content, str(path))


def decode_text(content: bytes, where: str) -> str:
    """Return the text in ``content``, the bytes of a file.

    Parameters:
        where: the name of the file, for the error.

    Raises:
        ConfigError: see :func:`read_text_file`.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content[:1000]:
        encoding = "UTF-16"
    if encoding is not None:
        raise _not_utf8(where, f"It seems to be {encoding}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        cause = f"It seems to be Latin-1 (Windows-1252): line {line} has a byte that is not of UTF-8"
        raise _not_utf8(where, cause) from None


def _not_utf8(where: str, cause: str) -> ConfigError:
    return ConfigError(f"{where} is not UTF-8", cause=cause, suggestion="Save it as UTF-8.")
