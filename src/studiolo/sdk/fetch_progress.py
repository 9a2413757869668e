"""The progress line on stderr while the default model is downloaded: all that the SDK prints by itself."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator

from ..protocol.models import Fetching

REDRAW_SEC = 0.2


@contextlib.contextmanager
def shown() -> Generator[Callable[[Fetching], None], None, None]:
    """Yield a function that prints the start of a download and, on a terminal, its progress; clear the line after."""
    began = False
    drawn_at = 0.0

    def show(progress: Fetching) -> None:
        nonlocal began, drawn_at
        if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  a program without standard streams
            return
        if not began:
            began = True
            size = f" ({progress.total_bytes / 1e6:.0f} MB)" if progress.total_bytes else ""
            print(f"studiolo: fetching the default model {progress.model_key}{size}", file=sys.stderr)
        if sys.stderr.isatty() and (now := time.monotonic()) - drawn_at >= REDRAW_SEC:
            drawn_at = now
            print(f"\r\x1b[K{_line(progress)}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if drawn_at:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _line(progress: Fetching) -> str:
    done, total, rate = (
        progress.downloaded_bytes / 1e6,
        progress.total_bytes / 1e6,
        progress.speed_bytes_per_second / 1e6,
    )
    left = f", {(total - done) / rate:.0f} s left" if rate > 0 and total else ""
    percent = f"{100 * done / total:3.0f} %  " if total else ""
    return f"{percent}{done:.0f}/{total:.0f} MB  {rate:.1f} MB/s{left}"
