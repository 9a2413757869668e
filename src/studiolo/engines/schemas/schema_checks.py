"""Check a JSON schema before llguidance reads it: its size, its meta-schema, its references and its spelling."""

from __future__ import annotations

import difflib
import json
from typing import Any, cast

from jsonschema import FormatChecker
from jsonschema.exceptions import SchemaError
from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs]
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from .subschemas import ANNOTATIONS, CORE, KEYWORDS, Pointer, children, depth_of, keywords, path_of, places
from .validation import draft_of

MAX_SCHEMA_CHARS = 2**20
MAX_DEPTH = 100
"""Nested objects and lists; llguidance's JSON parser allows 128."""

MIN_TYPO_CHARS = 5
"""Shorter words resemble a keyword by chance."""

_BEFORE_2019 = ("draft-03", "draft-04", "draft-06", "draft-07")


class RefusedError(Exception):
    """A schema or grammar cannot be used.

    Parameters:
        kind: ``invalid``, ``unsatisfiable`` or ``unsupported``.
        path: the place, such as ``$.properties.a.pattern``; empty for a grammar.
        why: what is wrong there.
        hint: what to do about it.
    """

    def __init__(self, kind: str, path: str, why: str, hint: str) -> None:
        super().__init__(why)
        self.kind = kind
        self.path = path
        self.why = why
        self.hint = hint


def read_schema(text: str) -> Any:
    """Return the schema in ``text``.

    Raises:
        RefusedError: it is too large, too deep, invalid by its meta-schema, or has an unresolvable reference.
    """
    schema = _parsed(text)
    _check_meta(schema)
    _check_references(schema)
    return schema


def ignores_siblings(draft: str) -> bool:
    """Return whether a draft ignores the keywords beside a ``$ref``."""
    return any(old in draft for old in _BEFORE_2019)


def draft_named(schema: Any) -> str:
    """Return the value of a schema's ``$schema``; empty if it has none."""
    named = keywords(schema).get("$schema")
    return named if isinstance(named, str) else ""


def _parsed(text: str) -> Any:
    if len(text) > MAX_SCHEMA_CHARS:
        why = f"it has {len(text)} characters; the limit is {MAX_SCHEMA_CHARS}"
        raise RefusedError("unsupported", "$", why, "Split the answer into several requests.")
    if depth_of(text) > MAX_DEPTH:
        why = f"its objects and lists are nested more than {MAX_DEPTH} deep"
        raise RefusedError("unsupported", "$", why, "Move inner schemas to $defs, and refer to them.")
    schema: Any = json.loads(text)
    if schema is False:
        raise RefusedError(
            "unsatisfiable", "$", "no value satisfies the schema false", "Write a schema that allows some value."
        )
    if schema is not True and not isinstance(schema, dict):
        why = f"a schema is an object or a boolean, not {type(schema).__name__}"
        raise RefusedError("invalid", "$", why, "Give an object.")
    return cast("Any", schema)


def _check_meta(schema: Any) -> None:
    kind: Any = draft_of(schema)
    try:
        kind.check_schema(schema, format_checker=FormatChecker(()))  # its regular expressions are not Python's
    except SchemaError as error:
        raise RefusedError(
            "invalid",
            path_of(tuple(error.absolute_path)),
            error.message[:300],
            f"Correct it as the meta-schema of its draft requires: {kind.META_SCHEMA['$schema']}",
        ) from None


def _check_references(schema: Any) -> None:
    """Refuse references that cannot be resolved within the document; none is fetched."""
    draft = specification_with(draft_named(schema), default=DRAFT202012)
    waiting: list[tuple[Any, Pointer, Any]] = [(schema, (), REGISTRY.resolver_with_root(draft.create_resource(schema)))]
    while waiting:
        place, pointer, resolver = waiting.pop()
        inner = keywords(place)
        for keyword in ("$ref", "$dynamicRef"):
            reference = inner.get(keyword)
            if isinstance(reference, str):
                try:
                    resolver.lookup(reference)
                except Unresolvable:
                    raise RefusedError(
                        "invalid",
                        path_of((*pointer, keyword)),
                        f"the reference {reference!r} cannot be resolved",
                        "Add its target to the schema's $defs: references are not fetched.",
                    ) from None
        for child in children(inner):
            below = resolver
            if isinstance(keywords(child.schema).get("$id"), str):
                below = resolver.in_subresource(draft.create_resource(child.schema))
            waiting.append((child.schema, (*pointer, *child.pointer), below))


def typos(schema: Any) -> list[str]:
    """Return a warning for each unknown keyword that resembles a known one."""
    known = sorted(KEYWORDS - ANNOTATIONS - CORE)
    found: list[str] = []
    for pointer, place in places(schema):
        for keyword in keywords(place):
            if keyword in KEYWORDS or len(keyword) < MIN_TYPO_CHARS or not keyword[0].isalpha():
                continue
            if close := difflib.get_close_matches(keyword, known, 1, cutoff=0.84):
                found.append(
                    f"{path_of((*pointer, keyword))} is not a keyword and is ignored; did you mean {close[0]!r}?"
                )
    return found
