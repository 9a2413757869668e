"""Errors in the form of LM Studio's REST API."""

from __future__ import annotations

from typing import Any

from ...errors import (
    AuthenticationError,
    ModelNotFoundError,
    PromptTooLongError,
    StoredItemNotFoundError,
    StudioloError,
)
from ..base import ErrorAnswer
from ..http.forms import retry_headers

_CODES: dict[type[StudioloError], str] = {
    AuthenticationError: "invalid_api_key",
    PromptTooLongError: "context_length_exceeded",
    StoredItemNotFoundError: "not_found",
}


def error_object(error: StudioloError, status: int | None = None) -> dict[str, Any]:
    """Return what the member ``error`` of a response or an event is."""
    status = error.http_status if status is None else status
    is_unknown_model = isinstance(error, ModelNotFoundError)
    kind = "invalid_request" if status < 500 else "internal_error"
    code = "unrecognized_keys" if error.data.get("unknown") else error.data.get("code") or _CODES.get(type(error))
    if code == "mcp_connection_error":
        kind, code = code, None
    found = {
        "type": "model_not_found" if is_unknown_model else kind,
        "message": str(error),
        "code": code,
        "param": "model" if is_unknown_model else error.data.get("param"),
    }
    return {name: value for name, value in found.items() if value is not None}


def error_answer(error: StudioloError, status: int) -> ErrorAnswer:
    """Return the response that reports ``error``."""
    return ErrorAnswer(status, {"error": error_object(error, status)}, retry_headers(status))
