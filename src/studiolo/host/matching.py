"""Which instance a model reference means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..domain.models import Domain, ModelReference
from ..errors import DomainMismatchError
from ..library.model import Model
from ..settings import quoted
from .instance import Instance


def match(
    reference: ModelReference, instances: Iterable[Instance], domain: Domain, files: Mapping[str, Path]
) -> Instance | None:
    """Return the instance that ``reference`` means: the one of that identifier, else one of the model of that name.

    Instances of ``domain`` that are loaded and stay so come first, and of those of the named model the one that was
    used last. One of the other domain is returned only where the reference names it; a loading one likewise.

    Parameters:
        files: the files of models by names, as far as the library was asked.
    """
    found = [each for each in instances if each.state != "gone"]
    if reference.instance is not None:
        return next((each for each in found if each.reference == reference.instance), None)
    found = [
        each
        for each in found
        if reference.domain in (None, each.model.domain) and reference.vision in (None, each.model.vision)
    ]
    if reference.path is not None:
        found = _of_model(reference.path, found, files)
    if reference.name is not None:
        exact = [each for each in found if each.identifier == reference.name]
        found = exact or _of_model(reference.name, found, files)
    elif reference.path is None:
        found = [each for each in found if each.model.domain == domain and each.was_loaded]
    if reference.name is not None or reference.path is not None:
        found.sort(key=lambda each: each.last_use, reverse=True)
    return min(
        found,
        key=lambda each: (each.model.domain != domain, not each.was_loaded, each.state == "draining"),
        default=None,
    )


def check_domain(model: Model, domain: Domain) -> None:
    """Raise :class:`DomainMismatchError` if ``model`` is of another domain."""
    if model.domain == domain:
        return
    kind = {"llm": "an LLM", "embedding": "an embedding model"}
    actual = model.domain or "llm"
    raise DomainMismatchError(
        f"{model.key} is {kind[actual]}, not {kind[domain]}",
        suggestion=(
            f"Name {kind[domain]}, or have this one used as such: [models.{quoted(model.key)}] domain ="
            f' "{domain}" in config.toml, or load it with domain="{domain}". In the SDK, it belongs to client.{actual}.'
        ),
        data={"path": model.relative_path, "actualDomain": actual, "expectedDomain": domain},
    )


def _of_model(name: str, instances: list[Instance], files: Mapping[str, Path]) -> list[Instance]:
    """Return the instances of the model called ``name``, whatever their identifiers."""
    return [
        each
        for each in instances
        if name in (each.model.key, each.model.relative_path, str(each.model.path))
        or files.get(name) == each.model.path
    ]
