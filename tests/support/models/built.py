"""Where built model files are kept between runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def built(cache: Path, name: str, write: Callable[..., object], *args: Path) -> Path:
    """The file ``name`` as ``write(path, *args)`` writes it; written again when a module of this package has changed.

    Whichever it is: some models are made from others.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
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
