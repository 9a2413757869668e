"""The names of models in requests over HTTP: an unknown one is an error, never another model."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelFileError, ModelNotFoundError, PathNotFoundError
from .derived_models import DerivedModel
from .host import Host

ANY_NAME = "*"
"""The alias for every name that no model has."""


async def named(host: Host, name: str, *, any_name: bool = True) -> str:
    """Return what ``name`` means: an instance's identifier, or a name of a model, or what an alias stands for.

    A derived model is the one that it stands for; :func:`derived` has its settings. Unlike in LM Studio's API, the
    beginning of a name and the path of a file outside the library are not names.

    Parameters:
        any_name: whether the alias for every name counts.

    Raises:
        ModelNotFoundError: nothing has the name.
    """
    aliases = host.settings.current().server.aliases
    if (found := derived(host, name)) is not None:
        return found.source
    if name in aliases:
        return aliases[name]
    if any(instance.identifier == name for instance in host.instances.all()):
        return name
    failure = await _unknown(host, name)
    if failure is None:
        return name
    if any_name and ANY_NAME in aliases:
        return aliases[ANY_NAME]
    raise failure


def derived(host: Host, name: str) -> DerivedModel | None:
    """Return the derived model that ``name`` means; ``None`` where it means anything else."""
    return host.derived.get(host.settings.current().server.aliases.get(name, name))


async def _unknown(host: Host, name: str) -> ModelNotFoundError | None:
    """Return the error for a name that no model has; ``None`` for one that some model has."""
    is_path = Path(name).is_absolute() or name.startswith("~")
    similar: str | None = None
    try:
        if is_path:  # no client may find out what files there are
            await host.library.models()
        else:
            similar = (await host.library.resolve(name)).key
    except ModelFileError:
        return None  # the request fails for the reason of the file
    except ModelNotFoundError as error:
        return error
    if host.library.known_names.has(name):
        return None
    return PathNotFoundError(
        f"No model has the name {name!r}",
        cause=similar and f"A similar one is {similar}",
        suggestion="Use the whole name: studiolo ls lists them.",
    )
