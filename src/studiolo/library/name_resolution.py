"""Find the model that a name means, or say why there is none."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ..domain.models import Domain
from ..errors import PathNotFoundError
from ..settings import with_prefix, without_prefix
from .catalog import Catalog
from .model import Model, split_name
from .near_names import closest


class Match(NamedTuple):
    """A model that a name means, and the shortest key that names it."""

    key: str
    model: Model


class NameIndex:
    """The names of models, for look-ups.

    Parameters:
        models: all models of the library.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models
        self._by_key = {model.key: model for model in models}
        self._selected: dict[str, list[int]] = defaultdict(list)
        """By group: the variants that it means."""
        self._tiers = (_Tier(), _Tier(), _Tier(), _Tier())
        """Exact names, the closest kind first: keys, groups, paths, and names that several models may have."""
        beginnings: set[tuple[str, int, bool]] = set()
        for place, model in enumerate(models):
            if model.selected:
                self._selected[model.group].append(place)
            names = _names(model)
            keys, groups, paths, loose = self._tiers
            keys.add(place, names.key)
            groups.add_shared(model.group, names.group)
            paths.add(place, names.path)
            loose.add(place, names.loose)
            loose.add_shared(model.group, names.loose_group)
            beginnings.update((name, place, False) for name in names.key | names.path | names.loose)
            beginnings.update((name, place, True) for name in names.group | names.loose_group)
        self._sorted = sorted(beginnings)

    def by_key(self, key: str) -> Model | None:
        """Return the model with exactly this key."""
        return self._by_key.get(key)

    def matches(self, name: str) -> list[Match]:
        """Return the models that ``name`` means, in any case.

        The closest kind of match decides: a key goes before a path, a path before a name that several files may have,
        and that before the beginning of one. A name of all variants of a model means the selected one.
        """
        wanted = name.strip().removesuffix("/").casefold()
        if not wanted:
            return []
        for exact in (name, name.strip()):  # keys can differ by nothing but case
            if exact in self._by_key:
                return [Match(exact, self._by_key[exact])]
        for tier in self._tiers:
            if found := self._found(tier.own.get(wanted, ()), tier.shared.get(wanted, ())):
                return found
        own: set[int] = set()
        groups: set[str] = set()
        for number in range(bisect_left(self._sorted, (wanted,)), len(self._sorted)):
            known, place, is_shared = self._sorted[number]
            if not known.startswith(wanted):
                break
            if is_shared:
                groups.add(self._models[place].group)
            else:
                own.add(place)
        return self._found(own, groups)

    def has(self, name: str) -> bool:
        """Return whether ``name``, in any case, is the whole name of a model, and not only the beginning of one."""
        wanted = name.strip().removesuffix("/").casefold()
        return any(wanted in tier.own or wanted in tier.shared for tier in self._tiers)

    def files(self, name: str) -> set[Path]:
        """Return the first files of the models that ``name`` means: of all variants where it is the name of all.

        None where it means no model, or several that are not variants of one. An absolute path is itself.
        """
        if Path(name).is_absolute():
            return {Path(name)}
        found = self.matches(name)
        if len(found) != 1:
            return set()
        key, model = found[0]
        if key != model.group:
            return {model.path}
        return {each.path for each in self._models if each.group == model.group}

    def _found(self, own: Iterable[int], groups: Iterable[str]) -> list[Match]:
        groups = set(groups)
        places = {place for place in own if self._models[place].group not in groups}
        places.update(place for group in groups for place in self._selected.get(group, ()))
        models = [self._models[place] for place in sorted(places)]
        return [Match(model.group if model.group in groups else model.key, model) for model in models]


class _Tier:
    """Names of one kind: which models have them, and which groups share them among their variants."""

    def __init__(self) -> None:
        self.own: defaultdict[str, set[int]] = defaultdict(set)
        self.shared: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, place: int, names: set[str]) -> None:
        for name in names:
            self.own[name].add(place)

    def add_shared(self, group: str, names: set[str]) -> None:
        for name in names:
            self.shared[name].add(group)


class _Names(NamedTuple):
    """The names of a model, in lower case."""

    key: set[str]
    group: set[str]
    """Shared by all its variants."""
    path: set[str]
    loose: set[str]
    loose_group: set[str]
    """Shared by all its variants."""


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
    elif model.domain_set:  # an embedding model by its file
        own.add(with_prefix(model.key))
        shared |= {with_prefix(model.group)}
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
    """Return the error for a name that means several models, or none.

    Parameters:
        name: the name.
        found: the models that it means.
        models: all models of the library.
        catalog: for suggestions.
    """
    known = path_data(name, models)
    keys = list(dict.fromkeys(key for model in models for key in (model.group, model.key)))
    if found:
        candidates = sorted(match.key for match in found)
        shown = candidates[:10] + ([f"{len(candidates) - 10} more"] if len(candidates) > 10 else [])
        return PathNotFoundError(
            f"{len(candidates)} models match {name!r}",
            cause=f"They are {', '.join(shown)}",
            suggestion="Use one of these names",
            data={**known, "candidates": candidates},
        )
    entry = catalog.find(name)
    if entry is not None:
        return PathNotFoundError(
            f"{entry.name} is not in the library",
            cause="It is in the catalog and not downloaded yet",
            suggestion=f"Download it with: studiolo get {entry.name}",
            data={**known, "catalog": entry.name},
        )
    near = closest(name, [*keys, *(each for each in catalog if each not in keys)])
    lines = [each if each in keys else f"{each} (in the catalog: studiolo get {each})" for each in near]
    if name.lower().endswith(".gguf"):
        suggestion = "Name a file outside the library by its absolute path"
    elif models:
        suggestion = "List the models with: studiolo ls"
    else:
        default = catalog.default()
        first = default.name if default else "NAME"
        suggestion = f"The library is empty. Download a model with: studiolo get {first}"
    return PathNotFoundError(
        f"No model matches {name!r}",
        cause=f"The closest are {', '.join(lines)}" if near else None,
        suggestion=suggestion,
        data={**known, "near": near},
    )


def path_data(name: str, models: list[Model]) -> dict[str, Any]:
    """Return the data that LM Studio's clients show for a path without a model."""
    return {
        "path": name,
        "availablePathsSample": [model.relative_path for model in models[:10]],
        "totalModels": len(models),
    }


def domains_by_file(domains: dict[str, Domain], names: NameIndex) -> dict[Path, Domain]:
    """Return the domains that the settings set for models, by file. They may name a model by its key afterwards."""
    found: dict[Path, Domain] = {}
    for name, domain in domains.items():
        found |= dict.fromkeys(names.files(name) or names.files(without_prefix(name)), domain)
    return found
