"""Change a settings file; everything else in it, comments too, stays."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit_settings(path: Path, change: Callable[[Any], None], by_hand: str) -> None:
    """Change the settings file at ``path``, or write a new one.

    Parameters:
        change: changes the document of tomlkit.
        by_hand: what to set by hand where the file cannot be written.

    Raises:
        ConfigError: the file is not valid, or cannot be written.
    """
    import tomlkit

    from ..errors import ConfigError
    from ..settings import read_settings

    read_settings(path)
    target = path.resolve()  # a link stays one
    fresh = target.with_suffix(".new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
        change(document)
        fresh.write_text(tomlkit.dumps(document), encoding="utf-8")
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
