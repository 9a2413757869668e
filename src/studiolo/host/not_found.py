"""The errors for models and instances that do not exist, with the data that LM Studio's clients show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import DraftModelNotFoundError, IdentifierNotFoundError, ModelNotFoundError


class Identified(Protocol):
    """A loaded instance, as far as these errors are concerned."""

    @property
    def identifier(self) -> str: ...


def not_loaded(identifier: str | None, loaded: Sequence[Identified]) -> ModelNotFoundError:
    """Return the error for a query that no loaded instance matches."""
    return ModelNotFoundError(
        "No model is loaded" if identifier is None else f"No model is loaded as {identifier!r}",
        cause=_names(loaded),
        suggestion="Load one: studiolo load MODEL.",
        data=query_data(identifier, loaded),
    )


def matches_no_model(error: ModelNotFoundError, name: str | None, loaded: Sequence[Identified]) -> ModelNotFoundError:
    """Return the error for a query whose model is not in the library: it says what ``error`` of the library says."""
    return ModelNotFoundError(
        error.title, cause=error.cause, suggestion=error.suggestion, data=query_data(name, loaded)
    )


def nothing_to_unload(identifier: str, loaded: Sequence[Identified]) -> IdentifierNotFoundError:
    """Return the error for an identifier that no instance has."""
    return IdentifierNotFoundError(
        f"No model is loaded as {identifier!r}",
        cause=_names(loaded),
        suggestion="See what is loaded: studiolo ps.",
        data={"identifier": identifier, **_sample(loaded)},
    )


def no_draft_model(name: str, error: ModelNotFoundError) -> DraftModelNotFoundError:
    """Return the error for a draft model that is not in the library, for the reason that ``error`` gives."""
    return DraftModelNotFoundError(
        f'Cannot find model "{name}"', cause=error.cause, suggestion=error.suggestion, data={"draft_model": name}
    )


def query_data(identifier: str | None, loaded: Sequence[Identified]) -> dict[str, Any]:
    """Return what LM Studio's clients show of a query that found nothing."""
    return {"query": {} if identifier is None else {"identifier": identifier}, **_sample(loaded)}


def _names(loaded: Sequence[Identified]) -> str | None:
    return f"Loaded: {', '.join(instance.identifier for instance in loaded)}." if loaded else None


def _sample(loaded: Sequence[Identified]) -> dict[str, Any]:
    return {
        "loadedModelsSample": [instance.identifier for instance in loaded[:10]],
        "totalLoadedModels": len(loaded),
    }
