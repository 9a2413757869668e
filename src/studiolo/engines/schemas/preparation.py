"""A JSON schema as the text that llguidance reads, or why it cannot be one. Runs in the worker.

Source of the options and of their limits: llguidance 1.0.1, docs/json_schema.md.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from .closed_objects import close_objects
from .grammar import answer_grammar
from .grammar_build import OPTIONS, SPACED, Built, build, build_error, encoded
from .grammar_samples import fault_of_most
from .rewrites import name_properties, put_contained_first, split_look_ahead
from .schema_checks import RefusedError, draft_named, ignores_siblings, read_schema, typos
from .subschemas import ANNOTATIONS, CORE, KEYWORDS, Pointer, Schema, at, children, keywords, path_of, places
from .validation import is_readable, leave_out_patterns

_DEMANDS = KEYWORDS - ANNOTATIONS - CORE - {"$defs", "definitions"}

MAX_COUNTED = 10_000
"""Items or properties that a grammar counts."""

SEARCH_SEC = 0.5
"""Processor time to search for the place of an error."""

_EXCERPT = re.compile(r"^ *\d+ \| ", re.MULTILINE)
"""What begins the lines of a grammar in llguidance's messages."""

_KNOWN_DRAFTS = ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")

_TOO_WIDE = "Current row"
"""In llguidance's message of an object with too many properties that may be left out, some 500."""

# What llguidance's messages are about, by words in them.
_TOPICS = (
    (_TOO_WIDE, ("properties", "anyOf", "oneOf")),
    ("patternProperty", ("patternProperties",)),
    ("regex", ("pattern", "patternProperties", "allOf")),
    ("circular", ("$ref", "allOf")),
    ("Pointer", ("$ref",)),
    ("Resource", ("$ref",)),
    ("ntersection", ("allOf", "anyOf", "oneOf")),
    ("grammar size", ("maxItems", "minItems", "maxProperties", "maxLength")),
    ("required property", ("required",)),
    ("multiple of", ("multipleOf",)),
    ("anyOf is empty", ("enum", "anyOf", "oneOf")),
    ("minLength", ("minLength",)),
    ("minimum", ("minimum", "exclusiveMinimum")),
    ("minItems", ("minItems",)),
    ("Invalid type", ("type",)),
    ("range", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    ("incompatible types", ("enum", "const", "type", "allOf", "$ref")),
)


class Prepared(NamedTuple):
    """A schema that an engine can be given.

    Parameters:
        grammar_json: one line of JSON for a grammar's ``%json``.
        warnings: what the user should look at, each with its path.
    """

    grammar_json: str
    warnings: list[str]


def prepare(text: str, *, spaced: bool = False) -> Prepared:
    """Check a schema and make it ready for the engine.

    Parameters:
        text: the schema as JSON, its keys in the order in which an answer shall have them.
        spaced: put a space behind each comma and colon, as the calls have it that a model is shown.

    Raises:
        RefusedError: it is no schema, nothing satisfies it, or it cannot be held to.
    """
    schema = read_schema(text)
    normalised = _normalised(schema)
    error = ""
    for form in _forms(normalised):
        held = encoded(form, SPACED if spaced else OPTIONS)
        built = build(answer_grammar(held))
        if isinstance(built, Built):
            _check_samples(built, text)
            return Prepared(held, typos(schema))
        error = built
        if _TOO_WIDE in error:
            break  # no form is narrower
    fewer = _without_alternative(normalised, error)
    if fewer is not None:
        held = encoded(fewer, SPACED if spaced else OPTIONS)
        if build_error(answer_grammar(held)) is None:
            return Prepared(held, typos(schema))
    raise _refusal(normalised, error)


def _normalised(schema: Any) -> Schema:
    """A copy of a schema in the form that llguidance reads as the standard does."""
    held = copy.deepcopy(keywords(schema))
    held.pop("x-guidance", None)  # llguidance's options are not the user's
    named = draft_named(held)
    if not any(draft in named for draft in _KNOWN_DRAFTS):
        held.pop("$schema", None)
    if ignores_siblings(named):
        _drop_siblings(held)
    for place in places(held):
        inner = keywords(place.schema)
        for bound in ("maxItems", "maxProperties"):
            if inner.get(bound, 0) > MAX_COUNTED:
                del inner[bound]  # llguidance writes each item out; only the finished answer is checked for so many
    return held


def _forms(held: Schema) -> Iterator[Schema]:
    """Forms of a schema for llguidance, those that hold the model to most first.

    What a later form leaves out, only the check of the finished answer demands.
    """
    closed = copy.deepcopy(held)
    rewritten = [name_properties(closed), put_contained_first(closed)]
    if any(rewritten):
        yield from _forms(closed)
        closed = copy.deepcopy(held)
    forms = [closed, held] if close_objects(closed, refs_stand_alone=ignores_siblings(draft_named(held))) else [held]
    yield from forms
    left_out = [_leave_out_unread(form) for form in forms]
    if any(left_out):
        yield from forms
    if _drop_siblings(held):
        yield held


def _without_alternative(held: Schema, error: str) -> Schema | None:
    """A form without the one alternative that llguidance refuses by itself; ``None`` where it is not one of several."""
    if "nsatisfiable" in error or "grammar size" in error:
        return None
    pointer, _, _ = _place_of(held, error)
    fewer = copy.deepcopy(held)
    for end in range(len(pointer) - 1, 0, -1):
        alternatives = at(fewer, pointer[:end])
        if (
            pointer[end - 1] in ("anyOf", "oneOf")
            and isinstance(alternatives, list)
            and len(cast("list[Any]", alternatives)) > 1
        ):
            del alternatives[cast("int", pointer[end])]
            return fewer
    return None


def _check_samples(built: Built, text: str) -> None:
    """Refuse a schema that the texts of its grammar do not satisfy, where llguidance leaves some of it out."""
    if all("Unknown format" in message for message in built.warnings):
        return
    fault = fault_of_most(built.matcher, text)
    if fault is not None:
        raise RefusedError(
            "unsupported",
            fault.schema_path,
            f"of the texts that its grammar allows, hardly one satisfies it: {fault.message}",
            "State it with keywords that are held to while it is generated: docs/structured-output.md lists them.",
        )


def _drop_siblings(held: Schema) -> bool:
    """Leave out in place what demands something beside a ``$ref``; returns whether anything did."""
    dropped = False
    for place in list(places(held)):
        inner = keywords(place.schema)
        if isinstance(inner.get("$ref"), str):
            for keyword in inner.keys() & _DEMANDS:
                del inner[keyword]
                dropped = True
    return dropped


def _leave_out_unread(held: Schema) -> bool:
    """Leave out the patterns that llguidance cannot read; the finished answer is checked for them.

    Returns:
        Whether there was any.

    Raises:
        RefusedError: nothing else can read one either.
    """
    split = split_look_ahead(held, _takes_pattern)
    left_out = leave_out_patterns(held, _takes_pattern, relax=False)
    for pointer, pattern in left_out:
        if not is_readable(pattern):
            raise RefusedError(
                "unsupported",
                path_of(pointer),
                f"no reader of regular expressions here takes {pattern!r}",
                "Write the pattern without what its error names.",
            )
    return split or bool(left_out)


def _takes_pattern(pattern: str) -> bool:
    schema = json.dumps({"type": "string", "pattern": pattern, "x-guidance": OPTIONS})
    return build_error(answer_grammar(schema)) is None


def _refusal(held: Schema, error: str) -> RefusedError:
    pointer, here, error = _place_of(held, error)
    topics = next((about for word, about in _TOPICS if word in error), ())
    keyword = next((each for each in topics if each in here), None)
    path = path_of(pointer if keyword is None else (*pointer, keyword))
    why = " ".join(line.strip() for line in _EXCERPT.split(error)[0].splitlines() if line.strip(" ^"))
    why = why.rpartition("failed to compile JSON schema: ")[2][:400]
    if "nsatisfiable" in error:
        return RefusedError("unsatisfiable", path, f"nothing satisfies it: {why}", "Correct what contradicts itself.")
    return RefusedError("unsupported", path, why, "Leave that out, or state it in another way.")


def _place_of(held: Schema, error: str) -> tuple[Pointer, Schema, str]:
    """The innermost schema that llguidance refuses by itself: the way to it, the schema, and its error."""
    end = time.process_time() + SEARCH_SEC
    pointer: Pointer = ()
    here = held
    while True:
        for child in children(here):
            if time.process_time() > end:
                return pointer, here, error
            inner = _error_alone(held, child.schema)
            if inner is not None:
                pointer, here, error = (*pointer, *child.pointer), child.schema, inner
                break
        else:
            return pointer, here, error


def _error_alone(held: Schema, schema: Any) -> str | None:
    if not keywords(schema):
        return None
    alone = {key: held[key] for key in ("$schema", "$defs", "definitions") if key in held}
    alone |= {key: value for key, value in keywords(schema).items() if key not in ("$id", "id")}
    return build_error(answer_grammar(encoded(alone)))
