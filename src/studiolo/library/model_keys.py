"""Assign model keys, and group the variants of a model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, TypeVar

from ..settings import with_prefix
from .model import split_name
from .scan import Found, Origin

Role = Literal["llm", "embedding", "other"]
"""What a file is for: a model of one of the domains, or something else, such as a LoRA adapter."""

_RANK: dict[Origin, int] = {"home": 0, "folder": 1, "lmstudio": 2, "huggingface": 3, "ollama": 4, "path": 5}
"""If several models claim a key, the lowest rank gets it: other programs' models do not rename the home's."""


class Name(NamedTuple):
    """The name of a model, before it is made unique among others."""

    base: str
    """In lower case; with the prefix if it is an embedding model."""
    display: str
    """For people, with spaces."""
    variant: str | None
    place: str
    """Its folder. Models in one place with the same base are variants of each other."""


class Keys(NamedTuple):
    """The key of a model, and the key that all its variants share."""

    key: str
    group: str


_GENERIC = ("ggml-model", "model")
"""File names that do not name the model: the folder's name is used instead."""


def name_of(found: Found, role: Role = "llm") -> Name:
    """Return the name of a model.

    Parameters:
        found: the model's files.
        role: what it is for. Only models have variants.
    """
    file = found.first
    if file.tag is not None:  # a model in Ollama's store
        place = file.relative_path.rpartition(":")[0]
        display = place.rpartition("/")[2]
        base = display.lower().removesuffix("-gguf")
        shown, variant, place = f"{display}:{file.tag}", file.tag.lower(), f"ollama:{place}"
    else:
        stem, variant = split_name(file.path.name)
        folder = re.sub(r"-gguf$", "", file.path.parent.name, flags=re.IGNORECASE)
        if stem.lower() in _GENERIC and file.origin != "path" and folder:
            stem = folder
        stem = "".join(letter if letter.isprintable() else "-" for letter in stem).strip() or stem
        base, shown, place = stem.lower(), words(stem), str(file.path.parent)
    if role == "other":
        return Name(base, shown, variant, str(file.path))
    return Name(with_prefix(base) if role == "embedding" else base, shown, variant, place)


def words(name: str) -> str:
    """Return a file's name as people write it: spaces for hyphens, and words of letters capitalised."""
    parts = re.split(r"[-_\s]+", name)
    return " ".join(part.capitalize() if part.isalpha() and part.islower() else part for part in parts if part)


def assign_keys(
    models: Iterable[Found],
    reserved: Mapping[str, str] | None = None,
    role_of: Callable[[Found], Role] = lambda _: "llm",
) -> dict[str, Keys]:
    """Return a unique key for each model, by the path of its first file.

    Models in one folder that differ only by their quantisation are variants: their keys are ``name@quant``, their group
    is ``name``. A group is named ``name``, else ``publisher/name``, else ``folder/name``, else by its absolute path and
    name. If several groups claim a name, the home's own model gets it, if it is one of them, and all others use their
    next one. Files that are not models take no name from a model. The result does not depend on the order of
    ``models``.

    Parameters:
        models: each once.
        reserved: fixed keys by path (those of the catalog).
        role_of: returns what a model is for; the key of an embedding model begins with ``text-embedding-``.
    """
    models = list(models)
    roles: dict[str, Role] = {str(found.first.path): role_of(found) for found in models}
    names = {str(found.first.path): name_of(found, roles[str(found.first.path)]) for found in models}
    of_embedding = {path for path, role in roles.items() if role == "embedding"}
    reserved = {path: with_prefix(key) if path in of_embedding else key for path, key in (reserved or {}).items()}
    groups: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for found in models:
        name = names[str(found.first.path)]
        groups[name.place, name.base].append(found)
    options = {identity: _options(identity, members, reserved) for identity, members in groups.items()}

    def rank_of(found: Found) -> int:
        return _RANK[found.first.origin] + (len(_RANK) if roles[str(found.first.path)] == "other" else 0)

    rank = {
        identity: -1 if len(options[identity]) == 1 else min(map(rank_of, members))
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
    return [base, *named, *within, place if place == str(file.path) else f"{place}/{base}"]


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
    """Return the keys of the variants of one group, by path."""
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
