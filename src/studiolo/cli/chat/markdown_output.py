"""Answers as Markdown on a terminal: finished blocks are printed, the one that still grows is redrawn."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.text import Text
from rich.theme import Theme

from .plain_output import shortened, without_controls

REFRESHES_PER_SEC = 6
MAX_REDRAWN_CHARS = 3000
"""A growing block that is longer is shown as it is until it ends: to format it again and again would take too long."""


def new_console() -> Console:
    """Return the console of standard output. Colours are the terminal's own, and none where ``NO_COLOR`` is set."""
    theme = Theme({"markdown.code": "bold cyan", "markdown.code_block": "cyan"})
    return Console(theme=theme, highlight=False, emoji=False, markup=False)


def formatted(text: str) -> Markdown:
    """Return Markdown for a console. Links show where they lead."""
    return Markdown(text, code_theme="ansi_dark", hyperlinks=False)


def split_blocks(text: str) -> tuple[str, str]:
    """Return the blocks of Markdown that have ended, and the last one, which may still grow."""
    tokens = Markdown(text).parsed
    starts = [token.map[0] for token in tokens if token.level == 0 and token.map and token.nesting >= 0]
    if not starts or not starts[-1]:
        return "", text
    lines = text.splitlines(keepends=True)
    return "".join(lines[: starts[-1]]), "".join(lines[starts[-1] :])


class MarkdownListener:
    """Shows an answer while it comes; see :class:`Listener`.

    Parameters:
        console: where.
        show_reasoning: print reasoning; otherwise it is folded into a line when it ends.
    """

    def __init__(self, console: Console, *, show_reasoning: bool) -> None:
        self._console = console
        self._show_reasoning = show_reasoning
        self._live: Live | None = None
        self._status = ""
        self._thoughts = ""
        self._began_thinking = 0.0
        self._growing = ""
        self._has_printed = False

    def waiting(self, processed: float) -> None:
        self._status = f"Reading the prompt: {processed:.0%}" if 0 < processed < 1 else "..."
        self._redraw()

    def fragment(self, text: str, *, is_reasoning: bool) -> None:
        text = without_controls(text)
        if is_reasoning:
            if not self._thoughts:
                self._began_thinking = time.monotonic()
            self._thoughts += text
        else:
            if self._thoughts and text.strip():
                self._fold()
            self._growing += text
            if "\n" in text:
                ended, self._growing = split_blocks(self._growing)
                self._print(ended)
        self._redraw()

    def round_ended(self) -> None:
        if self._thoughts:
            self._fold()
        growing, self._growing, self._status = self._growing, "", ""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._print(growing)
        self._has_printed = False

    def tool_returned(self, name: str, content: str) -> None:
        self._console.print(Text(f"{shortened(name)} returned: {shortened(content)}", style="dim"))

    def _fold(self) -> None:
        thoughts, self._thoughts = self._thoughts.strip(), ""
        if self._show_reasoning:
            self._console.print(Text(thoughts, style="dim"))
            self._console.print()
        else:
            seconds = time.monotonic() - self._began_thinking
            words = len(thoughts.split())
            self._console.print(
                Text(f"Thought for {seconds:.0f} s, {words} words; /reasoning shows them.", style="dim")
            )

    def _print(self, text: str) -> None:
        if text.strip():
            if self._live is not None:
                self._live.refresh()  # without the block that is printed now
            if self._has_printed:
                self._console.print()
            self._console.print(formatted(text.strip("\n")))
            self._has_printed = True

    def _redraw(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=REFRESHES_PER_SEC,
                transient=True,
            )
            self._live.start()

    def _picture(self) -> RenderableType:
        """Return what is redrawn: the block that grows, the end of the reasoning, or what is waited for."""
        if self._growing.strip():
            short = len(self._growing) <= MAX_REDRAWN_CHARS
            shown = formatted(self._growing.strip("\n")) if short else Text(self._growing[-MAX_REDRAWN_CHARS:])
            return _Tail(shown, after_blank=self._has_printed)
        if self._thoughts:
            width = max(self._console.width - 12, 10)
            return Text(f"Thinking: {' '.join(self._thoughts[-4 * width :].split())[-width:]}", style="dim")
        return Text(self._status, style="dim")


class _Tail:
    """The last lines of something, as many as fit on the screen."""

    def __init__(self, content: RenderableType, *, after_blank: bool) -> None:
        self._content = content
        self._after_blank = after_blank

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        lines = console.render_lines(self._content, options.update(height=None), pad=False)
        if self._after_blank:
            lines.insert(0, [])
        for line in lines[-max(console.height - 2, 1) :]:
            yield from line
            yield Segment.line()
