"""Errors in the form of Anthropic's API, and the ids of its requests."""

from __future__ import annotations

import secrets
from typing import Any

from ...errors import (
    BusyError,
    NotEnoughMemoryError,
    OverloadedError,
    PromptTooLongError,
    QuarantinedError,
    StoppingError,
    StudioloError,
)
from ..base import ErrorAnswer
from ..http.forms import retry_headers

REQUEST_ID = "request-id"
"""The header with the id of a request."""

OVERLOADED = 529

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


def new_request_id() -> str:
    """Return the id of a request."""
    return f"req_{secrets.token_hex(12)}"


def error_answer(error: StudioloError, status: int) -> ErrorAnswer:
    """Return the response that reports ``error``."""
    status = _status(error, status)
    request_id = new_request_id()
    headers = {REQUEST_ID: request_id, **retry_headers(status)}
    return ErrorAnswer(status, error_body(error, request_id, status), headers)


def error_body(error: StudioloError, request_id: str, status: int | None = None) -> dict[str, Any]:
    """Return the body of a response that reports ``error``, or the data of a stream's event.

    Parameters:
        status: the response's HTTP status; by default the error's own.
    """
    status = _status(error, error.http_status) if status is None else status
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    found: dict[str, Any] = {"type": kind, "message": _message(error)}
    if (details := error.data.get("details")) is not None:
        found["details"] = details
    return {"type": "error", "error": found, "request_id": request_id}


def _status(error: StudioloError, status: int) -> int:
    if isinstance(error, BusyError):
        return 429
    if isinstance(error, NotEnoughMemoryError | OverloadedError | QuarantinedError | StoppingError):
        return OVERLOADED
    return status


def _message(error: StudioloError) -> str:
    """Return the text of an error. Clients find prompts that are too long by the upstream service's words."""
    tokens, limit = error.data.get("promptTokensCount"), error.data.get("contextLength")
    if isinstance(error, PromptTooLongError) and tokens and limit:
        return f"prompt is too long: {tokens} tokens > {limit} maximum. {error}"
    return str(error)
