"""Errors in LM Studio's serialized form."""

from __future__ import annotations

from typing import Any

from ..errors import (
    HostError,
    IdentifierNotFoundError,
    ModelNotFoundError,
    PathNotFoundError,
    StudioloError,
    error_class,
)
from .structs import WireStruct


class SerializedError(WireStruct, frozen=True, kw_only=True):
    """LM Studio's serialized error.

    ``displayData`` holds LM Studio's own codes, which its clients map to error classes. ``errorData`` holds studiolo's
    other codes; those clients print it unchanged.
    """

    title: str = "Unknown error"
    root_title: str | None = None
    cause: str | None = None
    suggestion: str | None = None
    error_data: dict[str, Any] | None = None
    display_data: dict[str, Any] | None = None
    stack: str | None = None


SerializedLMSExtendedError = SerializedError  # the official client's name


_NOT_FOUND = frozenset((PathNotFoundError.code, IdentifierNotFoundError.code))


def serialize_error(error: BaseException, *, one_not_found: bool = False) -> SerializedError:
    """Return ``error`` in serialized form. The title of an error outside studiolo's tree starts with its class name.

    Parameters:
        one_not_found: send each error about a model that is not found with the code of a query without a match, the
            only one of these codes that the official Python client maps to a class that programs can catch.
    """
    if not isinstance(error, StudioloError):
        title = f"{type(error).__name__}: {error}"
        return SerializedError(title=title, root_title=title, error_data={"code": HostError.code})
    code = ModelNotFoundError.code if one_not_found and error.code in _NOT_FOUND else error.code
    lm_studio_code = code.startswith("generic.")
    coded = {**error.data, "code": code}
    plain = code == HostError.code and not error.data
    return SerializedError(
        title=error.title,
        root_title=error.title,
        cause=error.cause,
        suggestion=error.suggestion,
        error_data=None if lm_studio_code or plain else coded,
        display_data=coded if lm_studio_code else None,
    )


def deserialize_error(error: SerializedError) -> HostError:
    """Return the exception for a serialized error, of the class that its code selects."""
    data = dict(error.display_data or error.error_data or {})
    code = data.pop("code", "")
    return error_class(str(code))(error.title, cause=error.cause, suggestion=error.suggestion, data=data)
