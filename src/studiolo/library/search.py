"""Search for models to download: in the catalog, and on the hub."""

from __future__ import annotations

import difflib
import re
from typing import Literal

from msgspec import Struct

from . import hub
from .catalog import Catalog, Entry

MAX_RESULTS = 200
FORMAT = "gguf"
"""The file format of every model that can be downloaded."""

_LIKE = 0.6
"""The similarity from which a misspelt term matches a name (:class:`difflib.SequenceMatcher`)."""


class SearchHit(Struct, frozen=True, kw_only=True):
    """A model in the results of a search.

    Parameters:
        identifier: an argument for ``Library.download_options`` and ``Library.fetch``: a name in the catalog, or
            ``owner/repo`` on the hub.
        name: its name for people.
        source: where it was found.
        publisher: its publisher.
        description: one line about it, or empty.
        downloads, likes: the hub's counts; ``None`` for models of the catalog.
        gated: whether its terms must be accepted on its page before it can be downloaded.
        size_bytes: the size of the download, if it is known.
        exact: whether the term is exactly its name.
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
    """The results of a search, the catalog's models first; ``note`` says why those of the hub are missing."""

    hits: list[SearchHit]
    note: str | None = None


async def search(term: str, limit: int, catalog: Catalog) -> SearchResults:
    """Return at most ``limit`` models whose name or description has each word of ``term``."""
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
    """Return at most ``limit`` models of the catalog that match ``term``, misspelt or not; closest names first."""
    wanted = term.strip().casefold()
    likeness = {entry.name: difflib.SequenceMatcher(None, wanted, entry.name).ratio() for entry in catalog.values()}
    found = [entry for entry in catalog.values() if _fits(entry, term) or likeness[entry.name] >= _LIKE]
    if wanted:
        found.sort(key=lambda entry: (not is_exact(entry, term), -likeness[entry.name]))
    return found[:limit]


def staff_pick_name(entry: Entry) -> tuple[str, str]:
    """Return owner and name of a model of the catalog in the form of LM Studio's hub: lower-case words."""
    owner = re.sub(r"[^a-z0-9]+", "-", entry.publisher.casefold()).strip("-")
    return owner or "studiolo", re.sub(r"[-_.]*([-_.])[-_.]*", r"\1", entry.name).replace("_", "-").strip("-.")


def is_exact(entry: Entry, term: str) -> bool:
    """Whether ``term`` is exactly the model's name."""
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
