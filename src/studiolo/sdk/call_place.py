"""Python warnings about a call: at the place of the call in the user's code, in the sync API too."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Generator
from contextvars import ContextVar
from types import FrameType

_PACKAGE = __name__.partition(".sdk")[0]

_deferred: ContextVar[list[Warning] | None] = ContextVar("studiolo_deferred_warnings", default=None)


def warn_caller(warning: Warning) -> None:
    """Warn at the innermost place outside of this package; by default Python shows a warning once per place."""
    deferred = _deferred.get()
    if deferred is not None:  # on the background loop, for a thread that waits
        deferred.append(warning)
        return
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    if frame is None:
        warnings.warn(warning, stacklevel=2)
        return
    warnings.warn_explicit(
        warning,
        type(warning),
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


@contextlib.contextmanager
def warnings_deferred() -> Generator[None, None, None]:
    """Give the warnings of a call that runs on the background loop in this thread, at the end of the block."""
    deferred: list[Warning] = []
    token = _deferred.set(deferred)
    try:
        yield
    finally:
        _deferred.reset(token)
    for warning in deferred:
        warn_caller(warning)


def _is_ours(module: str) -> bool:
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.") or module == "contextlib"
