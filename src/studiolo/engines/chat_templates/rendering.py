"""Render Jinja templates; runs in the worker process alone.

Templates run as in Hugging Face's transformers, for which their authors write them: with the same functions and the
same handling of white space. The sandbox keeps them from Python's objects; the process limits what they take.
"""

from __future__ import annotations

import functools
import json
from datetime import datetime
from types import TracebackType
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 2**26
"""The longest prompt, in characters."""


class RenderError(Exception):
    """A template cannot be rendered.

    Parameters:
        cause: why.
        line: the template's line.
    """

    def __init__(self, cause: str, line: int | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.line = line


def render(template: str, variables: dict[str, Any], mark: str | None = None) -> str:
    """Return the text of a template. Raise :class:`RenderError` where it fails.

    Parameters:
        mark: a character that JSON must not escape.
    """
    try:
        pieces: list[str] = []
        length = 0
        variables = {"raise_exception": _raise_exception, "strftime_now": _strftime_now, **variables}
        for piece in _compiled(template, mark).generate(**variables):
            length += len(piece)
            if length > MAX_CHARACTERS:
                raise RenderError(f"It produces more than {MAX_CHARACTERS} characters.")
            pieces.append(piece)
        return "".join(pieces)
    except (RenderError, MemoryError):
        raise
    except TemplateSyntaxError as error:
        raise RenderError(error.message or "wrong syntax", error.lineno) from None
    except Exception as error:  # a template is a program: it can raise anything
        raise RenderError(str(error) or type(error).__name__, _line(error.__traceback__)) from None


def _line(traceback: TracebackType | None) -> int | None:
    """Return the template's line in a traceback, which Jinja rewrites."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's text for training; its content is kept, and the mark has no effect."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.lru_cache(maxsize=32)
def _compiled(template: str, mark: str | None) -> Any:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    escaped = json.dumps(mark)[1:-1] if mark else None

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        return text.replace(escaped, mark) if ensure_ascii and escaped and mark else text

    environment.filters |= {"tojson": to_json}
    return environment.from_string(template)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
