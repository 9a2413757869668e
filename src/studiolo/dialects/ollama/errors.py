"""Errors in the form of Ollama's API: one text."""

from __future__ import annotations

from typing import Any

from ...errors import PromptTooLongError, StudioloError
from ..base import ErrorAnswer
from ..http.answers import ndjson
from ..http.forms import retry_headers

INPUT_TOO_LONG = "the input length exceeds the context length"
"""Ollama's words for a text that does not fit, which its clients look for."""


def error_answer(error: StudioloError, status: int) -> ErrorAnswer:
    """Return the response that reports ``error``."""
    return ErrorAnswer(status, error_object(error), retry_headers(status))


def error_object(error: StudioloError) -> dict[str, Any]:
    """Return the body of a response, or the line of a stream, that reports ``error``."""
    if isinstance(error, PromptTooLongError) and error.data.get("param") == "input":
        return {"error": INPUT_TOO_LONG}
    return {"error": str(error) if error.cause or error.suggestion else error.title}


def failure_line(error: StudioloError) -> bytes:
    """Return the line that ends a stream with an error."""
    return ndjson(error_object(error))
