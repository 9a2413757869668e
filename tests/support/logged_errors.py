"""What studiolo logs as an error during a test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class LoggedErrors(logging.Handler):
    """Collects what is logged as an error: an exception that nobody expected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


@contextmanager
def logged_errors() -> Iterator[LoggedErrors]:
    """Collect the errors that studiolo logs in the block."""
    errors = LoggedErrors()
    logger = logging.getLogger("studiolo")
    logger.addHandler(errors)
    try:
        yield errors
    finally:
        logger.removeHandler(errors)
