"""Errors on the wire, in LM Studio's form, and back."""

from __future__ import annotations

from typing import Any

from ..errors import HostError, StudioloError, error_class
from .structs import WireStruct


class SerializedError(WireStruct, frozen=True, kw_only=True):
    """LM Studio's serialized error.

    ``displayData`` carries LM Studio's own codes, of which its clients make classes; studiolo's further codes travel
    in ``errorData``, where those clients show them as they are.
    """

    title: str = "Unknown error"
    root_title: str | None = None
    cause: str | None = None
    suggestion: str | None = None
    error_data: dict[str, Any] | None = None
    display_data: dict[str, Any] | None = None
    stack: str | None = None


SerializedLMSExtendedError = SerializedError  # the official client's name


def serialize_error(error: BaseException) -> SerializedError:
    """The wire form of any error; one that is not studiolo's own is named by its class."""
    if not isinstance(error, StudioloError):
        title = f"{type(error).__name__}: {error}"
        return SerializedError(title=title, root_title=title, error_data={"code": HostError.code})
    lm_studio_code = error.code.startswith("generic.")
    coded = {**error.data, "code": error.code}
    return SerializedError(
        title=error.title,
        root_title=error.title,
        cause=error.cause,
        suggestion=error.suggestion,
        error_data=None if lm_studio_code else coded,
        display_data=coded if lm_studio_code else None,
    )


def deserialize_error(error: SerializedError) -> StudioloError:
    """The error that a wire form stands for, as the class that its code names."""
    data = dict(error.display_data or error.error_data or {})
    code = data.pop("code", "")
    return error_class(str(code))(error.title, cause=error.cause, suggestion=error.suggestion, data=data)
