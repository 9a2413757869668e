"""Which model a name means, and what to say when it means none."""

from __future__ import annotations

import difflib
from pathlib import PurePosixPath

from ..errors import ModelNotFoundError
from .catalog import Catalog
from .model import Model, split_name


def matches(name: str, models: list[Model]) -> list[Model]:
    """The models that ``name`` means, in any case. The closest kind of match decides: a key goes before a path, a
    path before a name that several files may have, and that before the beginning of one."""
    wanted = name.strip().removesuffix("/").casefold()
    if not wanted:
        return []
    for tier in range(3):
        found = [model for model in models if wanted in _names(model)[tier]]
        if found:
            return found
    return [model for model in models if any(each.startswith(wanted) for tier in _names(model) for each in tier)]


def _names(model: Model) -> tuple[set[str], set[str], set[str]]:
    """The names of ``model``: keys, paths, and looser ones."""
    path = PurePosixPath(model.relative_path)
    plain, quantization = split_name(path.name)
    parent = "" if str(path.parent) == "." else str(path.parent)
    keys = {model.key}
    paths = {model.relative_path, model.relative_path.removesuffix(path.suffix)}
    loose = {plain, path.stem, path.name, f"{plain}@{quantization}", model.key}
    loose |= {f"{model.publisher}/{each}" for each in loose} | {parent}
    folded = [{each.casefold() for each in tier if each.strip("/")} for tier in (keys, paths, loose)]
    return folded[0], folded[1], folded[2]


def not_found(name: str, found: list[Model], models: list[Model], catalog: Catalog) -> ModelNotFoundError:
    """The error for a name that means several models, or none."""
    keys = [model.key for model in models]
    if found:
        candidates = [model.key for model in found]
        return ModelNotFoundError(
            f"{len(candidates)} models answer to {name!r}",
            cause=f"They are {', '.join(candidates)}",
            suggestion="Give one of these names",
            data={"name": name, "candidates": candidates},
        )
    entry = catalog.find(name)
    if entry is not None:
        return ModelNotFoundError(
            f"{entry.name} is not in the library",
            cause="It is in the catalog and was not fetched yet",
            suggestion=f"Get it with: studiolo get {entry.name}",
            data={"name": name, "catalog": entry.name},
        )
    near = _near(name, [*keys, *(known for known in catalog if known not in keys)])
    lines = [each if each in keys else f"{each} (in the catalog: studiolo get {each})" for each in near]
    if name.lower().endswith(".gguf"):
        suggestion = "A file outside the library goes by its absolute path"
    elif models:
        suggestion = "See what is there with: studiolo ls"
    else:
        first = catalog.default.name if catalog.default else "NAME"
        suggestion = f"The library is empty. Get a model with: studiolo get {first}"
    return ModelNotFoundError(
        f"No model answers to {name!r}",
        cause=f"The closest are {', '.join(lines)}" if near else None,
        suggestion=suggestion,
        data={"name": name, "near": near},
    )


def _near(name: str, keys: list[str]) -> list[str]:
    """The keys that look like ``name``, or contain it."""
    wanted = name.casefold().rpartition("/")[2]
    close = difflib.get_close_matches(wanted, keys, n=3, cutoff=0.5)
    within = [key for key in keys if len(wanted) >= 3 and (wanted in key or _begins_like(key, wanted))]
    return list(dict.fromkeys([*close, *within]))[:3]


def _begins_like(key: str, wanted: str) -> bool:
    """Whether ``wanted`` is nearly the beginning of ``key``: people leave the rest of a long name out."""
    return difflib.SequenceMatcher(None, wanted, key[: len(wanted)]).ratio() >= 0.75
