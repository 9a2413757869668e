"""Which model a name means, and what to say when it means none."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ..errors import PathNotFoundError
from ..settings import without_prefix
from .catalog import Catalog
from .model import Model, split_name


class Match(NamedTuple):
    """A model that a name means, and the shortest key that names it."""

    key: str
    model: Model


class _Names(NamedTuple):
    """The names of a model, in lower case. The closest kind of match decides."""

    key: set[str]
    group: set[str]
    """Shared with its variants; so are the next but one."""
    path: set[str]
    loose: set[str]
    loose_group: set[str]


def matches(name: str, models: list[Model]) -> list[Match]:
    """The models that ``name`` means, in any case. The closest kind of match decides: a key goes before a path, a
    path before a name that several files may have, and that before the beginning of one. What names all variants of a
    model means the selected one."""
    wanted = name.strip().removesuffix("/").casefold()
    if not wanted:
        return []
    for model in models:  # keys can differ by nothing but case
        if model.key == name.strip():
            return [Match(model.key, model)]
    named = [(model, _names(model)) for model in models]
    tiers: list[tuple[Callable[[_Names], set[str]], Callable[[_Names], set[str]]]] = [
        (lambda n: n.key, lambda _: set()),
        (lambda _: set(), lambda n: n.group),
        (lambda n: n.path, lambda _: set()),
        (lambda n: n.loose, lambda n: n.loose_group),
    ]
    for own, shared in tiers:
        found = _found(named, lambda n, own=own: wanted in own(n), lambda n, shared=shared: wanted in shared(n))
        if found:
            return found

    def begins(names: set[str]) -> bool:
        return any(each.startswith(wanted) for each in names)

    return _found(
        named,
        lambda n: begins(n.key) or begins(n.path) or begins(n.loose),
        lambda n: begins(n.group) or begins(n.loose_group),
    )


def _found(
    named: list[tuple[Model, _Names]], own: Callable[[_Names], bool], shared: Callable[[_Names], bool]
) -> list[Match]:
    groups = {model.group for model, names in named if shared(names)}
    return [
        Match(model.group if model.group in groups else model.key, model)
        for model, names in named
        if (model.selected if model.group in groups else own(names))
    ]


def _names(model: Model) -> _Names:
    path = PurePosixPath(model.relative_path)
    publisher = f"{model.publisher}/" if model.publisher else ""
    if model.origin == "ollama":
        plain, _, tag = model.relative_path.rpartition(":")
        own = {f"{plain}@{tag}"}
        shared = {plain, f"{publisher}{plain.rpartition('/')[2]}"}
        paths = {model.relative_path}
    else:
        plain = split_name(path.name)[0]
        own = {path.stem, path.name, f"{plain}@{model.variant}" if model.variant else plain}
        shared = {plain, str(path.parent).removeprefix(".")}
        paths = {model.relative_path, model.relative_path.removesuffix(path.suffix)}
    if model.domain == "embedding":
        own.add(without_prefix(model.key))
        shared |= {without_prefix(model.group)}
    loose = own | {f"{publisher}{each}" for each in (*own, model.key)} | {model.key}
    if model.variant:
        loose.add(f"{model.group}@{model.variant}")
    return _Names(
        key=_folded({model.key}),
        group=_folded({model.group}),
        path=_folded(paths),
        loose=_folded(loose),
        loose_group=_folded(shared | {f"{publisher}{plain}", f"{publisher}{model.group}"}),
    )


def _folded(names: set[str]) -> set[str]:
    return {each.casefold() for each in names if each.strip("/")}


def not_found(name: str, found: list[Match], models: list[Model], catalog: Catalog) -> PathNotFoundError:
    """Return the error for a name that means several models, or none."""
    known = path_data(name, models)
    keys = list(dict.fromkeys(key for model in models for key in (model.group, model.key)))
    if found:
        candidates = sorted(match.key for match in found)
        shown = candidates[:10] + ([f"{len(candidates) - 10} more"] if len(candidates) > 10 else [])
        return PathNotFoundError(
            f"{len(candidates)} models answer to {name!r}",
            cause=f"They are {', '.join(shown)}",
            suggestion="Give one of these names",
            data={**known, "candidates": candidates},
        )
    entry = catalog.find(name)
    if entry is not None:
        return PathNotFoundError(
            f"{entry.name} is not in the library",
            cause="It is in the catalog and was not fetched yet",
            suggestion=f"Get it with: studiolo get {entry.name}",
            data={**known, "catalog": entry.name},
        )
    near = _near(name, [*keys, *(each for each in catalog if each not in keys)])
    lines = [each if each in keys else f"{each} (in the catalog: studiolo get {each})" for each in near]
    if name.lower().endswith(".gguf"):
        suggestion = "A file outside the library goes by its absolute path"
    elif models:
        suggestion = "See what is there with: studiolo ls"
    else:
        default = catalog.default()
        first = default.name if default else "NAME"
        suggestion = f"The library is empty. Get a model with: studiolo get {first}"
    return PathNotFoundError(
        f"No model answers to {name!r}",
        cause=f"The closest are {', '.join(lines)}" if near else None,
        suggestion=suggestion,
        data={**known, "near": near},
    )


def path_data(name: str, models: list[Model]) -> dict[str, Any]:
    """Return what LM Studio's clients show of a path that leads to no model."""
    return {
        "path": name,
        "availablePathsSample": [model.relative_path for model in models[:10]],
        "totalModels": len(models),
    }


def _near(name: str, keys: list[str]) -> list[str]:
    """The keys that look like ``name``, or contain it."""
    wanted = name.casefold().rpartition("/")[2]
    close = difflib.get_close_matches(wanted, keys, n=3, cutoff=0.5)
    within = [key for key in keys if len(wanted) >= 3 and (wanted in key or _begins_like(key, wanted))]
    return list(dict.fromkeys([*close, *within]))[:3]


def _begins_like(key: str, wanted: str) -> bool:
    """Whether ``wanted`` is nearly the beginning of ``key``: people leave the rest of a long name out."""
    return difflib.SequenceMatcher(None, wanted, key[: len(wanted)]).ratio() >= 0.75
