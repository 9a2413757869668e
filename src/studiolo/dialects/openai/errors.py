"""Errors in the form of OpenAI's API."""

from __future__ import annotations

from typing import Any

from ...errors import (
    AuthenticationError,
    BusyError,
    CancelledError,
    DomainMismatchError,
    ModelNotFoundError,
    NoSuchRouteError,
    NotEnoughMemoryError,
    OverloadedError,
    PromptTooLongError,
    StoppingError,
    StoredItemNotFoundError,
    StudioloError,
    WrongMethodError,
)
from ..base import ErrorAnswer
from ..http.forms import retry_headers

_CODES: dict[type[StudioloError], str] = {
    AuthenticationError: "invalid_api_key",
    BusyError: "rate_limit_exceeded",
    CancelledError: "client_closed_request",
    NoSuchRouteError: "unknown_url",
    WrongMethodError: "method_not_allowed",
    PromptTooLongError: "context_length_exceeded",
    NotEnoughMemoryError: "not_enough_memory",
    OverloadedError: "server_overloaded",
    StoppingError: "server_stopping",
    StoredItemNotFoundError: "not_found",
}

_STATUSES: dict[type[StudioloError], int] = {BusyError: 429}


def error_answer(error: StudioloError, status: int) -> ErrorAnswer:
    """Return the response that reports ``error``."""
    status = _STATUSES.get(type(error), status)
    return ErrorAnswer(status, {"error": error_object(error, status)}, retry_headers(status))


def error_object(error: StudioloError, status: int | None = None) -> dict[str, Any]:
    """Return what the member ``error`` of a response, or of a frame of a stream, is."""
    status = _STATUSES.get(type(error), error.http_status) if status is None else status
    param, code = error.data.get("param"), error.data.get("code")
    if isinstance(error, ModelNotFoundError | DomainMismatchError):
        param = param or "model"
        code = "model_not_found" if isinstance(error, ModelNotFoundError) else "model_not_supported"
    kind = {429: "rate_limit_error"}.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"message": str(error), "type": kind, "param": param, "code": code or _CODES.get(type(error))}
