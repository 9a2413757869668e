"""Names and tags of models, as Ollama's clients write them, and their digests."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Any

from ...errors import ModelNotFoundError
from ...host.derived_models import DerivedModel
from ...host.names import named
from ...library.model import Model
from ..http.endpoint import Call
from ..http.fields import wrong

TAG = ":latest"
"""The tag of names without one."""


def required(model: str | None, name: str | None) -> str:
    """Return the name in a request. Raise :class:`InvalidRequestError` if it is missing.

    Parameters:
        model: the field for it; ``name``: the deprecated one.
    """
    if found := model or name:
        return found
    raise wrong("model", "missing")


async def known(call: Call[Any], name: str, *, any_name: bool = True) -> str:
    """Return ``name`` without the tag ``latest``, unless the name of the model has it.

    Parameters:
        any_name: whether the alias for every name counts.

    Raises:
        ModelNotFoundError: there is no such model.
    """
    if not name:
        raise wrong("model", "missing")
    plain = untagged(name)
    try:
        if plain != name:
            with contextlib.suppress(ModelNotFoundError):
                await named(call.host, name, any_name=False)
                return name
        await named(call.host, plain, any_name=any_name)
    except ModelNotFoundError:
        raise not_found(name) from None
    return plain


def untagged(name: str) -> str:
    """Return ``name`` without the tag ``latest``."""
    return name[: -len(TAG)] if name.lower().endswith(TAG) else name


def not_found(name: str) -> ModelNotFoundError:
    """Return the error for a name that no model has."""
    return ModelNotFoundError(f"model {name!r} not found")


def listed_name(key: str, model: Model) -> str:
    """Return the name of a model in lists, with a tag: clients look for it there with one.

    Of a model in Ollama's own store, it is the one that Ollama has for it.

    Parameters:
        key: its key, or another name.
    """
    return tagged(model.relative_path if model.origin == "ollama" and key == model.key else key)


def tagged(name: str) -> str:
    """Return ``name`` with a tag."""
    return name if ":" in name else f"{name}{TAG}"


def digest(call: Call[Any], model: Model, own: DerivedModel | None = None) -> str:
    """Return 64 hex digits that identify a model: the SHA-256 of its file where that is known.

    Else they are made of the file's path, size and time, which is fast and changes with the file.

    Parameters:
        own: the derived model that it is the source of.
    """
    found = _known_hash(call, model) or _stamp(model)
    if own is None:
        return found
    return _hex(f"{found}\0{own.name}\0{own.created}")


def _known_hash(call: Call[Any], model: Model) -> str | None:
    if model.origin == "ollama" and (match := re.fullmatch(r"sha256-([0-9a-f]{64})", model.path.name)):
        return match[1]
    for entry in call.host.library.catalog.values():
        if entry.sha256 is not None and call.host.home.models / entry.file == model.path:
            return entry.sha256 if _size(model.path) == entry.size_bytes else None
    return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _stamp(model: Model) -> str:
    try:
        status = model.path.stat()
    except OSError:
        return _hex(str(model.path))
    return _hex(f"{model.path}\0{status.st_size}\0{status.st_mtime_ns}")


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
