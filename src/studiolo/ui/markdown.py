"""Markdown as HTML that can be shown as it is: HTML in it is text, and nothing in it is loaded from anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping, Sequence
from html import escape
from typing import Any

import pygments.formatters
import pygments.lexers
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.util import ClassNotFound

MAX_HIGHLIGHTED_CHARS = 50_000
MAX_FORMATTED_CHARS = 400_000
"""Longer texts are shown as they are, because to format them would hold up other pages."""


def as_html(text: str) -> str:
    """Return Markdown as HTML."""
    if len(text) > MAX_FORMATTED_CHARS:
        return f"<pre>{escape(text)}</pre>"
    return _MARKDOWN.render(text)


def split_blocks(text: str) -> tuple[str, str]:
    """Return the blocks of Markdown that have ended, and the last one, which may still grow."""
    if len(text) > MAX_FORMATTED_CHARS:
        return "", text
    starts = [token.map[0] for token in _MARKDOWN.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    if not starts or not starts[-1]:
        return "", text
    lines = text.splitlines(keepends=True)
    return "".join(lines[: starts[-1]]), "".join(lines[starts[-1] :])


class _Renderer(RendererHTML):
    """Images are links: the pages load nothing from other hosts."""

    def image(
        self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]
    ) -> str:  # the signature of the library
        source = escape(str(tokens[idx].attrs.get("src", "")))
        text = escape(tokens[idx].content) or "image"
        return f'<a href="{source}" {_ELSEWHERE}>{text}</a>'

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return f'<a href="{escape(str(tokens[idx].attrs.get("href", "")))}" {_ELSEWHERE}>'

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return _code(tokens[idx].content, tokens[idx].info.split(maxsplit=1)[0] if tokens[idx].info.strip() else "")

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return _code(tokens[idx].content, "")


_ELSEWHERE = 'target="_blank" rel="noopener noreferrer nofollow"'
lexers: Any = pygments.lexers  # its types are unknown
formatters: Any = pygments.formatters
_FORMATTER = formatters.HtmlFormatter(nowrap=True, classprefix="hl-")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])


def _code(text: str, language: str) -> str:
    shown = escape(text)
    if language and len(text) <= MAX_HIGHLIGHTED_CHARS:
        with contextlib.suppress(ClassNotFound):
            shown = highlight(text, lexers.get_lexer_by_name(language, stripnl=False), _FORMATTER)
    return f'<pre tabindex="0"><code>{shown}</code></pre>'
