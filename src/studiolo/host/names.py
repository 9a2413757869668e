"""The names of models in requests over HTTP: an unknown one is an error, never another model."""

from __future__ import annotations

from ..errors import ModelFileError, ModelNotFoundError, PathNotFoundError
from .host import Host

ANY_NAME = "*"
"""The alias for every name that no model has."""


async def named(host: Host, name: str) -> str:
    """Return what ``name`` means: an instance's identifier, or a name of a model, or what an alias stands for.

    Unlike in LM Studio's API, the beginning of a name and the path of a file outside the library are not names.

    Raises:
        ModelNotFoundError: nothing has the name.
    """
    aliases = host.settings.current().server.aliases
    if name in aliases:
        return aliases[name]
    if any(instance.identifier == name for instance in host.instances.all()):
        return name
    try:
        model = await host.library.resolve(name)
    except ModelFileError:
        return name  # the request fails for the reason of the file
    except ModelNotFoundError:
        if ANY_NAME in aliases:
            return aliases[ANY_NAME]
        raise
    if host.library.known_names.has(name):
        return name
    if ANY_NAME in aliases:
        return aliases[ANY_NAME]
    raise PathNotFoundError(
        f"No model has the name {name!r}", cause=f"A similar one is {model.key}", suggestion="Use the whole name"
    )
