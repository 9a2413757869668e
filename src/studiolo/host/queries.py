"""Which loaded instance a query means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..errors import ModelFileError, ModelNotFoundError
from ..library.model import Model
from ..protocol.models import Domain, ModelQuery
from .instance import Instance
from .machine import check_device

Resolve = Callable[[str], Awaitable[Model]]
"""Finds a model in the library by any of its names."""


async def matching(query: ModelQuery, loaded: list[Instance], domain: Domain, resolve: Resolve) -> Instance | None:
    """Return the instance that ``query`` means: the one of that identifier, else one of the model of that name.

    Instances of ``domain`` come first; one of the other domain is returned only where the query names it.

    Raises:
        UnsupportedError: the query is about another device.
    """
    check_device(query.device_identifier)
    found = [
        each
        for each in loaded
        if query.domain in (None, each.model.domain) and query.vision in (None, each.model.vision)
    ]
    if query.path is not None:
        found = await of_model(query.path, found, resolve)
    if query.identifier is not None:
        exact = [each for each in found if each.identifier == query.identifier]
        found = exact or await of_model(query.identifier, found, resolve)
    elif query.path is None:
        found = [each for each in found if each.model.domain == domain]
    return min(found, key=lambda each: each.model.domain != domain, default=None)


async def of_model(name: str, instances: list[Instance], resolve: Resolve) -> list[Instance]:
    """Return the instances of the model that ``name`` means, whatever their identifiers."""
    found = [each for each in instances if name in (each.model.key, each.model.relative_path, str(each.model.path))]
    if found or not instances:
        return found
    try:
        model = await resolve(name)
    except (ModelNotFoundError, ModelFileError):
        return []
    return [each for each in instances if each.model.path == model.path]
