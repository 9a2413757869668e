"""The errors for models and instances that do not exist, with the data that LM Studio's clients show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from ..errors import DraftModelNotFoundError, IdentifierNotFoundError, ModelNotFoundError, ModelUnloadedError
from .departed import Departure, Departures

E = TypeVar("E", bound=ModelNotFoundError | ModelUnloadedError)


class Identified(Protocol):
    """A loaded instance, as far as these errors are concerned."""

    @property
    def identifier(self) -> str: ...


def not_loaded(
    identifier: str | None, loaded: Sequence[Identified], departures: Departures | None = None
) -> ModelNotFoundError:
    """Return the error for a query that no loaded instance matches.

    Parameters:
        departures: the instances that are no longer loaded.
    """
    if departures is not None and (departure := departures.of(identifier)) is not None:
        return departed(departure, ModelNotFoundError, query_data(identifier, loaded))
    return ModelNotFoundError(
        "No model is loaded" if identifier is None else f"No model is loaded as {identifier!r}",
        cause=_names(loaded),
        suggestion="Load one: studiolo load MODEL.",
        data=query_data(identifier, loaded),
    )


def departed(departure: Departure, kind: type[E], data: dict[str, Any]) -> E:
    """Return the error for an instance that is no longer loaded."""
    return kind(
        f"No model is loaded as {departure.identifier!r}",
        cause=departure.cause,
        suggestion=departure.suggestion,
        data=data,
    )


def matches_no_model(
    error: ModelNotFoundError, name: str | None, loaded: Sequence[Identified], departures: Departures
) -> ModelNotFoundError:
    """Return the error for a query whose model is not in the library: it says what ``error`` of the library says."""
    if (departure := departures.of(name)) is not None:
        return departed(departure, ModelNotFoundError, query_data(name, loaded))
    cause = ". ".join(filter(None, (error.cause, departures.restart())))
    return ModelNotFoundError(error.title, cause=cause, suggestion=error.suggestion, data=query_data(name, loaded))


def nothing_to_unload(identifier: str, loaded: Sequence[Identified], departures: Departures) -> IdentifierNotFoundError:
    """Return the error for an identifier that no instance has."""
    if (departure := departures.of(identifier)) is not None:
        return departed(departure, IdentifierNotFoundError, {"identifier": identifier, **_sample(loaded)})
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
