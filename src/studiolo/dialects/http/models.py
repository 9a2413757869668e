"""The models that a server's clients may name."""

from __future__ import annotations

from typing import Any

from ...host.names import named
from ...library.download_references import PathReference, WebReference, parse
from ...library.model import Model
from .endpoint import Call
from .fields import wrong


async def known_models(call: Call[Any]) -> list[tuple[str, Model]]:
    """Return the models on disk by their keys, those loaded under other identifiers, and the server's aliases."""
    host = call.host
    found = {model.key: model for model in await host.library.models() if model.domain is not None}
    for instance in host.instances.loaded():
        found.setdefault(instance.identifier, instance.model)
    for name, target in host.settings.current().server.aliases.items():
        if name != "*" and target in found:
            found.setdefault(name, found[target])
    return list(found.items())


async def known_model(call: Call[Any], name: str) -> Model:
    """Return the model that ``name`` means to a request. Raises as :meth:`Host.find_model`."""
    host = call.host
    wanted = await named(host, name)
    for instance in host.instances.loaded():
        if instance.identifier == wanted:
            return instance.model
    return await host.find_model(wanted)


def check_download(name: str) -> None:
    """Raise :class:`InvalidRequestError` for a path, or an address outside the hub, in the place of a model's name.

    Clients of a server choose neither which of its files are read, nor which hosts it connects to.
    """
    if isinstance(parse(name), PathReference | WebReference):
        raise wrong(
            "model",
            f"{name[:60]!r} is neither a name of the catalog nor a repository on the hub",
            "Files and other addresses are fetched by studiolo get.",
        )


def created_at(model: Model) -> float:
    """Return when the model's file was last written, in seconds since 1970; 0 where it is gone."""
    try:
        return model.path.stat().st_mtime
    except OSError:
        return 0.0
