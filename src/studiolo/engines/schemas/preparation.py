"""Prepare JSON schemas for llguidance, or explain why that is not possible. Runs in the worker.

llguidance's options and their limits are described in its docs/json_schema.md (version 1.0.1).
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from .closed_objects import close_objects
from .dynamic_references import resolve_dynamic_references
from .grammar import answer_grammar
from .grammar_build import OPTIONS, SPACED, Built, build, build_error, encoded
from .grammar_samples import fault_of_most
from .numeric_limits import contradiction, limit_numbers
from .one_of import narrow_one_of
from .patterns import escape_classes, remove_unsupported_patterns
from .rewrites import name_properties, put_contained_first
from .schema_checks import RefusedError, draft_named, ignores_siblings, read_schema, typos
from .subschemas import ANNOTATIONS, CORE, KEYWORDS, Pointer, Schema, at, children, keywords, path_of, places
from .unevaluated import apply_to_the_rest

_DEMANDS = KEYWORDS - ANNOTATIONS - CORE - {"$defs", "definitions"}

SEARCH_SEC = 0.5
"""Processor time for locating an error, in seconds."""

_EXCERPT = re.compile(r"^ *\d+ \| ", re.MULTILINE)
"""The prefix of a quoted grammar's lines in llguidance's messages."""

_KNOWN_DRAFTS = ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")

_TOO_WIDE = "Current row"
"""Part of llguidance's message about an object with too many optional properties, some 500."""

# The keywords that llguidance's messages are about, by words in the message.
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
    ("minProperties", ("minProperties", "maxProperties")),
    ("Regex is empty", ("pattern", "format", "minLength", "maxLength", "allOf", "$ref")),
    ("multiple of", ("multipleOf",)),
    ("anyOf is empty", ("enum", "anyOf", "oneOf")),
    ("minLength", ("minLength",)),
    ("minimum", ("minimum", "exclusiveMinimum", "allOf")),
    ("minItems", ("minItems",)),
    ("Invalid type", ("type",)),
    ("range", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "allOf", "$ref")),
    ("incompatible types", ("enum", "const", "type", "allOf", "$ref")),
)


class Prepared(NamedTuple):
    """A schema in the form for a grammar.

    Parameters:
        grammar_json: one line of JSON for a grammar's ``%json``.
        warnings: likely mistakes in the schema, each with its path.
    """

    grammar_json: str
    warnings: list[str]


def prepare(text: str, *, spaced: bool = False) -> Prepared:
    """Check a schema and prepare it for a grammar.

    Parameters:
        text: the schema as JSON, its keys in the order that an answer must have.
        spaced: put a space after each comma and colon, as in the tool calls that a model is shown.

    Raises:
        RefusedError: the schema is invalid, unsatisfiable, or not supported.
    """
    schema = read_schema(text)
    normalised, warnings = _normalised(schema)
    error = ""
    for form in _forms(normalised):
        grammar_json = encoded(form, SPACED if spaced else OPTIONS)
        built = build(answer_grammar(grammar_json))
        if isinstance(built, Built):
            _check_samples(built, text)
            return Prepared(grammar_json, [*typos(schema), *warnings])
        error = built
        if _TOO_WIDE in error:
            break  # no form is narrower
    fewer = _without_alternative(normalised, error)
    if fewer is not None:
        grammar_json = encoded(fewer, SPACED if spaced else OPTIONS)
        if build_error(answer_grammar(grammar_json)) is None:
            return Prepared(grammar_json, [*typos(schema), *warnings])
    raise _refusal(schema, normalised, error)


def _normalised(schema: Any) -> tuple[Schema, list[str]]:
    """Return a copy of a schema that llguidance interprets as the standard does, and warnings."""
    normalised = copy.deepcopy(keywords(schema))
    normalised.pop("x-guidance", None)  # clients must not set llguidance's options
    named = draft_named(normalised)
    if not any(draft in named for draft in _KNOWN_DRAFTS):
        normalised.pop("$schema", None)
    if ignores_siblings(named):
        _drop_siblings(normalised)
    else:
        resolve_dynamic_references(normalised)
        apply_to_the_rest(normalised, lists_in_items="2019-09" in named)
    warnings = narrow_one_of(normalised)
    escape_classes(normalised)
    limit_numbers(normalised)
    return normalised, warnings


def _forms(schema: Schema) -> Iterator[Schema]:
    """Yield forms of a schema for llguidance, the strictest first.

    Constraints that a later form leaves out are left to the validation of the finished answer.
    """
    closed = copy.deepcopy(schema)
    rewritten = [name_properties(closed), put_contained_first(closed)]
    if any(rewritten):
        yield from _forms(closed)
        closed = copy.deepcopy(schema)
    has_closed = close_objects(closed, refs_stand_alone=ignores_siblings(draft_named(schema)))
    forms = [closed, schema] if has_closed else [schema]
    yield from forms
    removed = [remove_unsupported_patterns(form) for form in forms]
    if any(removed):
        yield from forms
    if _drop_siblings(schema):
        yield schema


def _without_alternative(schema: Schema, error: str) -> Schema | None:
    """Return a form without the alternative that llguidance rejects; ``None`` if there is no other alternative."""
    if "nsatisfiable" in error or "grammar size" in error:
        return None
    pointer, _, _ = _locate(schema, error)
    fewer = copy.deepcopy(schema)
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
    """Refuse a schema of which a grammar leaves out a part, if texts of its grammar hardly ever satisfy it."""
    if all("Unknown format" in message for message in built.warnings) and '"oneOf"' not in text:
        return
    fault = fault_of_most(built.matcher, text)
    if fault is not None:
        raise RefusedError(
            "unsupported",
            fault.schema_path,
            f"of the texts that its grammar allows, hardly one satisfies it: {fault.message}",
            "Use keywords that are enforced during generation: docs/structured-output.md lists them.",
        )


def _drop_siblings(schema: Schema) -> bool:
    """Remove in place the assertions beside a ``$ref``. Return whether there were any."""
    dropped = False
    for place in list(places(schema)):
        inner = keywords(place.schema)
        if isinstance(inner.get("$ref"), str):
            for keyword in inner.keys() & _DEMANDS:
                del inner[keyword]
                dropped = True
    return dropped


def _refusal(given: Any, schema: Schema, error: str) -> RefusedError:
    pointer, subschema, error = _locate(schema, error)
    if contradicting := contradiction(at(given, pointer)):
        keyword, why = contradicting
        return RefusedError("unsatisfiable", path_of((*pointer, keyword)), why, "Correct the bounds.")
    topics = next((about for word, about in _TOPICS if word in error), ())
    keyword = next((each for each in topics if each in subschema), None)
    path = path_of(pointer if keyword is None else (*pointer, keyword))
    why = " ".join(line.strip() for line in _EXCERPT.split(error)[0].splitlines() if line.strip(" ^"))
    why = why.rpartition("failed to compile JSON schema: ")[2][:400]
    if "Regex is empty" in error:
        why = "no string has its pattern, format and length together"
    elif "integer range" in error:
        why = "no integer is within its bounds"
    if "nsatisfiable" in error or "integer range" in error:
        return RefusedError("unsatisfiable", path, f"nothing satisfies it: {why}", "Correct what contradicts itself.")
    return RefusedError("unsupported", path, why, "Remove that part, or express it with other keywords.")


def _locate(schema: Schema, error: str) -> tuple[Pointer, Schema, str]:
    """Return the innermost subschema that llguidance rejects: its pointer, the subschema, and its error."""
    end = time.process_time() + SEARCH_SEC
    pointer: Pointer = ()
    innermost = schema
    while True:
        for child in children(innermost):
            if time.process_time() > end:
                return pointer, innermost, error
            inner = _error_alone(schema, child.schema)
            if inner is not None:
                pointer, innermost, error = (*pointer, *child.pointer), child.schema, inner
                break
        else:
            return pointer, innermost, error


def _error_alone(document: Schema, schema: Any) -> str | None:
    if not keywords(schema):
        return None
    alone = {key: document[key] for key in ("$schema", "$defs", "definitions") if key in document}
    alone |= {key: value for key, value in keywords(schema).items() if key not in ("$id", "id")}
    return build_error(answer_grammar(encoded(alone)))
