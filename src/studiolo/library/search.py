"""Look for models that can be fetched: in the catalog, and on the hub."""

from __future__ import annotations

import difflib
import re
from typing import Literal

from msgspec import Struct

from . import hub
from .catalog import Catalog, Entry

MAX_RESULTS = 200
FORMAT = "gguf"
"""The file format of every model that can be fetched."""

_LIKE = 0.6
"""From this likeness on, a misspelt term means a name (:class:`difflib.SequenceMatcher`)."""


class SearchHit(Struct, frozen=True, kw_only=True):
    """A model that a search found.

    Parameters:
        identifier: what ``Library.download_options`` and ``Library.fetch`` take: a name in the catalog, or
            ``owner/repo`` on the hub.
        name: what it is called, for people.
        source: where it was found.
        publisher: whose it is.
        description: a line about it; empty where there is none.
        downloads, likes: as the hub counts them; ``None`` for the catalog's.
        gated: whether its terms must be accepted on its page before it can be fetched.
        size_bytes: of what would be fetched, where that is known.
        exact: whether the term is its very name.
    """

    identifier: str
    name: str
    source: Literal["catalog", "hub"]
    publisher: str = ""
    description: str = ""
    downloads: int | None = None
    likes: int | None = None
    gated: bool = False
    size_bytes: int | None = None
    exact: bool = False


class SearchResults(Struct, frozen=True):
    """What a search found, the catalog's models first; ``note`` tells why the hub's are missing, if they are."""

    hits: list[SearchHit]
    note: str | None = None


async def search(term: str, limit: int, catalog: Catalog) -> SearchResults:
    """Up to ``limit`` models that fit ``term``: each of its words is in their name or description."""
    term = term.strip()
    limit = max(1, min(limit, MAX_RESULTS))
    hits = [_of_entry(entry, term) for entry in catalog.values() if _fits(entry, term)][:limit]
    if len(hits) == limit:
        return SearchResults(hits)
    try:
        found = await hub.search(term, limit - len(hits))
    except hub.SourceUnavailable as error:
        return SearchResults(hits, f"Only the catalog was searched: {error.reason}")
    return SearchResults(hits + [_of_repository(model, term) for model in found][: limit - len(hits)])


def staff_picks(term: str, limit: int | None, catalog: Catalog) -> list[Entry]:
    """Up to ``limit`` models of the catalog that fit ``term``, misspelt ones too; the closest names first."""
    wanted = term.strip().casefold()
    likeness = {entry.name: difflib.SequenceMatcher(None, wanted, entry.name).ratio() for entry in catalog.values()}
    found = [entry for entry in catalog.values() if _fits(entry, term) or likeness[entry.name] >= _LIKE]
    if wanted:
        found.sort(key=lambda entry: (not is_exact(entry, term), -likeness[entry.name]))
    return found[:limit]


def staff_pick_name(entry: Entry) -> tuple[str, str]:
    """Owner and name of a model of the catalog in the form that LM Studio's hub has: words of small letters."""
    owner = re.sub(r"[^a-z0-9]+", "-", entry.publisher.casefold()).strip("-")
    return owner or "studiolo", re.sub(r"[-_.]*([-_.])[-_.]*", r"\1", entry.name).replace("_", "-").strip("-.")


def is_exact(entry: Entry, term: str) -> bool:
    """Whether ``term`` is the model's very name."""
    names = (entry.name, entry.key, f"{entry.publisher}/{entry.name}", "/".join(staff_pick_name(entry)))
    return term.strip().casefold() in [each.casefold() for each in names]


def _fits(entry: Entry, term: str) -> bool:
    text = " ".join((entry.name, entry.publisher, entry.description, entry.params, entry.quantization, entry.file))
    return all(word in text.casefold() for word in term.casefold().replace("/", " ").split())


def _of_entry(entry: Entry, term: str) -> SearchHit:
    return SearchHit(
        identifier=entry.name,
        name=entry.name,
        source="catalog",
        publisher=entry.publisher,
        description=entry.description,
        size_bytes=entry.size_bytes,
        exact=is_exact(entry, term),
    )


def _of_repository(model: hub.HubModel, term: str) -> SearchHit:
    publisher, _, name = model.id.partition("/")
    return SearchHit(
        identifier=model.id,
        name=name or model.id,
        source="hub",
        publisher=publisher,
        description=model.pipeline_tag or "",
        downloads=model.downloads,
        likes=model.likes,
        gated=bool(model.gated),
        exact=term.casefold() == model.id.casefold(),
    )
