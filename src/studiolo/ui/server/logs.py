"""The part of the page with the server's log."""

from __future__ import annotations

import logging
import time
from collections import deque

from nicegui import ui

from ..elements import heading
from ..monitor import monitor

KEPT = 500
"""Lines that are kept."""

MAX_CHARS = 2000
"""Characters of a line at most."""


class _Lines(logging.Handler):
    """Keeps the last records of studiolo's loggers, from the start of the pages."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=KEPT)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        self.lines.append(f"{moment} {record.levelname} {record.getMessage()[:MAX_CHARS]}")
        self.count += 1


_handler = _Lines()


def start_log() -> None:
    """Begin to keep lines, at the start of the pages."""
    logging.getLogger("studiolo").addHandler(_handler)


def stop_log() -> None:
    """Stop it, at the end of the pages."""
    logging.getLogger("studiolo").removeHandler(_handler)
    _handler.lines.clear()


def log_section() -> None:
    """Make it. It follows the log."""
    heading("Log")
    view = ui.label("").classes("st-log st-mono st-pre")
    view.props('role=log aria-label="Log of the server" aria-live=off tabindex=0')
    shown = -1

    def refresh() -> None:
        nonlocal shown
        if _handler.count != shown and not view.is_deleted:
            shown = _handler.count
            view.set_text("\n".join(_handler.lines) or "Nothing has been logged since the pages were first opened.")

    refresh()
    monitor().show(refresh)
