"""The user's TOML files: read, and refused with the name of the field that is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from .errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """The document at ``path``; one that does not exist is empty.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", cause=error.strerror or str(error)) from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not TOML", cause="It is not a text in UTF-8.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML", cause=without_content(str(error))) from None


def without_content(message: str) -> str:
    """Return the message of a parser with its line and column, and without what it quotes of the file."""
    fault, at, position = message.partition(" (at ")
    return re.sub(r"\s*(\(.*\)|'.*'|\".*\")", "", fault) + at + position


def wrong_field(path: Path, field: str, cause: str) -> ConfigError:
    """The error for a field of a file that is wrong."""
    return ConfigError(
        f"{path}: {field} is wrong",
        cause=cause,
        suggestion="Mend it or remove it.",
        data={"file": str(path), "field": field},
    )


def located(error: msgspec.ValidationError) -> tuple[str, str]:
    """Where below the converted table ``error`` is, such as ``.sources[0].size``, and what it says.

    msgspec says "Expected `int`, got `str` - at `$.size`", and nothing of where for a missing or an unknown field.
    """
    message, _, place = str(error).partition(" - at `$")
    named = re.search(r"(?:missing required|unknown) field `(\w+)`", message)
    return place.rstrip("`") + (f".{named[1]}" if named else ""), message
