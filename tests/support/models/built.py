"""Where built model files are kept between runs."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path


def built(cache: Path, name: str, write: Callable[..., object], *args: Path) -> Path:
    """The file ``name`` as ``write(path, *args)`` writes it; written again when the module of ``write`` has changed."""
    module = inspect.getmodule(write)
    assert module is not None and module.__file__ is not None
    version = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:12]
    path = cache / f"built-{version}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several runs may begin at once
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}")
            try:
                write(part, *args)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    return path
