"""Notices: what has happened, and what the user can do about it."""

from __future__ import annotations

import logging

from nicegui import ui

from ..errors import ConnectionFailedError, StudioloError

_log = logging.getLogger("studiolo.pages")


def show_error(error: Exception) -> None:
    """Show an error as a notice that stays until it is closed. An unexpected one is written to the log, too."""
    if isinstance(error, StudioloError):
        notice(describe(error), kind="negative")
        return
    _log.error("a page has failed", exc_info=error)
    notice(f"Internal error: {type(error).__name__}. The server's log has the details.", kind="negative")


def describe(error: StudioloError) -> str:
    """Return the lines of an error: what is wrong, why, what to do."""
    if isinstance(error, ConnectionFailedError):
        return f"{error.title}\nThe server may be stopping. Reload the page."
    return "\n".join(filter(None, (error.title, error.cause, error.suggestion)))


def notice(text: str, *, kind: str = "info") -> None:
    """Show a text at the edge of the page.

    Parameters:
        kind: ``"info"``, which closes by itself, or ``"negative"`` or ``"warning"``, which stay until they are closed.
    """
    stays = kind != "info"
    ui.notify(
        text,
        type=kind,  # pyright: ignore[reportArgumentType]
        position="bottom",
        multi_line=True,
        close_button="Close" if stays else False,
        timeout=0 if stays else 4000,
        classes=f"st-notice st-notice-{kind}",
    )
