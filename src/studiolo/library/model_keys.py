"""How models get their keys, and which of them are variants of one model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from ..settings import with_prefix
from .model import split_name
from .scan import Found, Origin

_RANK: dict[Origin, int] = {"home": 0, "folder": 1, "lmstudio": 2, "huggingface": 3, "ollama": 4, "path": 5}
"""Of those that contest a key, the home's own keeps it: other programs' models do not rename it."""


class Name(NamedTuple):
    """What a model is called before others are looked at."""

    base: str
    """In lower case; an embedding model's with its prefix."""
    display: str
    """For people: words."""
    variant: str | None
    place: str
    """Models in one place with one base are variants of each other."""


class Keys(NamedTuple):
    """The key of a model, and that of the model that it is a variant of."""

    key: str
    group: str


_GENERIC = ("ggml-model", "model")
"""Names of files that say nothing of the model: its folder is named after it."""


def name_of(found: Found, embeds: bool = False) -> Name:
    """Return what the model ``found`` is called.

    Parameters:
        embeds: whether it is an embedding model.
    """
    file = found.first
    if file.tag is not None:  # Ollama's
        place = file.relative_path.rpartition(":")[0]
        display = place.rpartition("/")[2]
        base = display.lower().removesuffix("-gguf")
        shown, variant, place = f"{display}:{file.tag}", file.tag.lower(), f"ollama:{place}"
    else:
        stem, variant = split_name(file.path.name)
        folder = re.sub(r"-gguf$", "", file.path.parent.name, flags=re.IGNORECASE)
        if stem.lower() in _GENERIC and file.origin != "path" and folder:
            stem = folder
        base, shown, place = stem.lower(), words(stem), str(file.path.parent)
    return Name(with_prefix(base) if embeds else base, shown, variant, place)


def words(name: str) -> str:
    """Return a file's name as people write it: spaces for hyphens, and a capital where a word is letters alone."""
    parts = re.split(r"[-_\s]+", name)
    return " ".join(part.capitalize() if part.isalpha() and part.islower() else part for part in parts if part)


def assign_keys(
    models: Iterable[Found],
    reserved: Mapping[str, str] | None = None,
    embeds: Callable[[Found], bool] = lambda _: False,
) -> dict[str, Keys]:
    """Give each model a key of its own, by the path of its first file.

    Models in one folder that differ by their quantisation are variants: ``name@quant`` each, with the group ``name``.
    A group is called ``name``, else ``publisher/name``, else ``folder/name``, else its absolute path and name: of
    those that contest a name, the home's own model keeps it where there is one, and all others move on to their next,
    so that the outcome does not depend on any order.

    Parameters:
        models: each once.
        reserved: keys by path, which those files have whatever others come (those of the catalog).
        embeds: says whether a model is for embeddings: its key then begins with ``text-embedding-``.
    """
    models = list(models)
    names = {str(found.first.path): name_of(found, embeds(found)) for found in models}
    of_embedding = {str(found.first.path) for found in models if embeds(found)}
    reserved = {path: with_prefix(key) if path in of_embedding else key for path, key in (reserved or {}).items()}
    groups: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for found in models:
        name = names[str(found.first.path)]
        groups[name.place, name.base].append(found)
    options = {identity: _options(identity, members, reserved) for identity, members in groups.items()}
    rank = {
        identity: -1 if len(options[identity]) == 1 else min(_RANK[found.first.origin] for found in members)
        for identity, members in groups.items()
    }
    chosen = _settle(options, lambda identity: rank[identity])
    keys: dict[str, Keys] = {}
    for identity, members in groups.items():
        keys |= _variants(chosen[identity], members, reserved, names)
    counts = Counter(each.key for each in keys.values())
    for path, each in keys.items():
        if counts[each.key] > 1 and path not in reserved:
            keys[path] = each._replace(key=path)
    return dict(sorted(keys.items()))


def _options(identity: tuple[str, str], members: list[Found], reserved: Mapping[str, str]) -> list[str]:
    for found in members:
        if str(found.first.path) in reserved:
            return [reserved[str(found.first.path)]]
    place, base = identity
    file = members[0].first
    folder = file.relative_path.rpartition(":")[0] if file.tag else str(PurePosixPath(file.relative_path).parent)
    named = [f"{file.publisher.lower()}/{base}"] if file.publisher else []
    within = [f"{folder}/{base}"] if folder != "." else []
    return [base, *named, *within, f"{place}/{base}"]


I = TypeVar("I", bound=Hashable)  # noqa: E741


def _settle(options: dict[I, list[str]], rank: Callable[[I], int]) -> dict[I, str]:
    options = {identity: list(names) for identity, names in options.items()}
    while True:
        claims: dict[str, list[I]] = defaultdict(list)
        for identity, names in options.items():
            claims[names[0]].append(identity)
        losers: list[I] = []
        for rivals in claims.values():
            best = min(map(rank, rivals))
            winners = [identity for identity in rivals if rank(identity) == best]
            losers += [
                identity
                for identity in rivals
                if len(rivals) > 1 and (identity not in winners or len(winners) > 1) and len(options[identity]) > 1
            ]
        if not losers:
            return {identity: names[0] for identity, names in options.items()}
        for identity in losers:
            del options[identity][0]


def _variants(
    group: str, members: list[Found], reserved: Mapping[str, str], names: Mapping[str, Name]
) -> dict[str, Keys]:
    """The keys within one group."""
    if len(members) == 1:
        (found,) = members
        plain = found.first.tag in (None, "latest") or str(found.first.path) in reserved
        path = str(found.first.path)
        return {path: Keys(group if plain else f"{group}@{names[path].variant}", group)}
    counts = Counter(
        names[path].variant for path in (str(found.first.path) for found in members) if path not in reserved
    )
    keys: dict[str, Keys] = {}
    for found in members:
        path = str(found.first.path)
        variant = names[path].variant
        if path in reserved or (variant is None and counts[None] == 1):
            key = group
        elif counts[variant] == 1:
            key = f"{group}@{variant}"
        else:
            key = f"{group}@{found.first.path.stem.lower()}"
        keys[path] = Keys(key, group)
    return keys
