"""Change a settings file; everything else in it, comments too, stays."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from .config import PredictionConfig, explicit_fields
from .errors import ConfigError
from .settings import quoted, read_settings
from .text_file import read_text_file

MAX_PRESET_NAME_CHARS = 60


def edit_settings(path: Path, change: Callable[[Any], None], by_hand: str) -> None:
    """Change the settings file at ``path``, or write a new one.

    Parameters:
        change: changes the document of tomlkit.
        by_hand: what to set by hand where the file cannot be written.

    Raises:
        ConfigError: the file is not valid, or cannot be written.
    """
    import tomlkit

    read_settings(path)
    target = path.resolve()  # a link stays one
    fresh = target.with_suffix(".new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        document = tomlkit.parse(read_text_file(path)) if path.exists() else tomlkit.document()
        change(document)
        fresh.write_text(tomlkit.dumps(document), encoding="utf-8", newline="")  # as they are in the file
        read_settings(fresh)
        if target.exists():
            shutil.copymode(target, fresh)
        fresh.replace(target)
    except OSError as error:
        cause = error.strerror or str(error)
        raise ConfigError(f"{path} cannot be written: {cause}", suggestion=f"Set it by hand: {by_hand}") from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def save_preset(path: Path, name: str, config: PredictionConfig) -> None:
    """Write a preset into the settings file at ``path``, in place of one of this name.

    Raises:
        ConfigError: the name is empty, too long or not printable, nothing is set, a value cannot be written in TOML, or
            the file is not valid or cannot be written.
    """
    import tomlkit

    if not name.strip() or len(name) > MAX_PRESET_NAME_CHARS or not name.isprintable():
        raise ConfigError(
            "This is not a name for a preset",
            suggestion=f"Enter 1 to {MAX_PRESET_NAME_CHARS} letters, digits or signs.",
        )
    fields = {
        field: msgspec.to_builtins(value)
        for field, value in explicit_fields(config).items()
        if f"{field}_sampling" not in config.__struct_fields__  # a second name
    }
    if not fields:
        raise ConfigError("Nothing is set that a preset could keep", suggestion="Change a setting first.")

    def change(document: Any) -> None:
        presets: Any = document.setdefault("presets", tomlkit.table(is_super_table=True))
        try:
            presets[name] = fields
        except ValueError as error:
            raise ConfigError(f"The preset {name!r} cannot be written in TOML", cause=_cause(fields, error)) from None

    edit_settings(path, change, f"[presets.{quoted(name)}]")


def _cause(fields: dict[str, Any], error: ValueError) -> str:
    """Return why TOML does not have some fields."""
    nulls = [field for field, value in fields.items() if b"null" in msgspec.json.encode(value)]
    return f"TOML has no null, which {nulls[0]} contains." if nulls else str(error)
