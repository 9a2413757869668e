"""A JSON schema as the text that llguidance reads, or why it cannot be one. Runs in the worker.

Source of the options and of their limits: llguidance 1.0.1, docs/json_schema.md.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from jsonschema import FormatChecker
from jsonschema.exceptions import SchemaError
from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs]
from llguidance import LLMatcher, LLTokenizer
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from .closed_objects import close_objects
from .grammar import answer_grammar
from .grammar_samples import fault_of_most, go_in
from .rewrites import name_properties, put_contained_first, split_look_ahead
from .subschemas import ANNOTATIONS, CORE, KEYWORDS, Pointer, Schema, at, children, depth_of, keywords, path_of, places
from .validation import draft_of, is_readable, leave_out_patterns

MAX_SCHEMA_CHARS = 2**20
MAX_DEPTH = 100
"""Nested objects and lists; llguidance's reader of JSON gives up at 128."""

MAX_BUILD_SEC = 0.7
"""Processor time that building a grammar may take. The engine builds it again, in the loop that serves everybody."""

_DEMANDS = KEYWORDS - ANNOTATIONS - CORE - {"$defs", "definitions"}

MAX_COUNTED = 10_000
"""Items or properties that a grammar counts."""

MIN_TYPO_CHARS = 5
"""Shorter words resemble a keyword by chance."""

TRIED_BYTES = 40
"""How much of a text is tried with a grammar: some build, and are lost at the first character."""

SEARCH_SEC = 0.5
"""Processor time to search for the place of an error."""

_EXCERPT = re.compile(r"^ *\d+ \| ", re.MULTILINE)
"""What begins the lines of a grammar in llguidance's messages."""

_OPTIONS = {"lenient": True, "whitespace_flexible": False}
_SPACED = {**_OPTIONS, "item_separator": ", ", "key_separator": ": "}
"""llguidance's other options mean different things in different versions of it."""
_KNOWN_DRAFTS = ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
_BEFORE_2019 = ("draft-03", "draft-04", "draft-06", "draft-07")

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


class RefusedError(Exception):
    """A schema or grammar cannot be used.

    Parameters:
        kind: ``invalid``, ``unsatisfiable`` or ``unsupported``.
        path: where, such as ``$.properties.a.pattern``; empty for a grammar.
        why: what is wrong there.
        hint: what to do about it.
    """

    def __init__(self, kind: str, path: str, why: str, hint: str) -> None:
        super().__init__(why)
        self.kind = kind
        self.path = path
        self.why = why
        self.hint = hint


class Prepared(NamedTuple):
    """A schema that an engine can be given.

    Parameters:
        held: one line of JSON for a grammar's ``%json``.
        warnings: what the user should look at, each with its path.
    """

    held: str
    warnings: list[str]


def prepare(text: str, *, spaced: bool = False) -> Prepared:
    """Check a schema and make it ready for the engine.

    Parameters:
        text: the schema as JSON, its keys in the order in which an answer shall have them.
        spaced: put a space behind each comma and colon, as the calls have it that a model is shown.

    Raises:
        RefusedError: it is no schema, nothing satisfies it, or it cannot be held to.
    """
    schema = _parsed(text)
    _check_meta(schema)
    _check_references(schema)
    normalised = _normalised(schema)
    error = ""
    for form in _forms(normalised):
        held = _encoded(form, _SPACED if spaced else _OPTIONS)
        built = _build(answer_grammar(held))
        if isinstance(built, Built):
            _check_chances(built, text)
            return Prepared(held, _typos(schema))
        error = built
        if _TOO_WIDE in error:
            break  # no form is narrower
    fewer = _without_alternative(normalised, error)
    if fewer is not None:
        held = _encoded(fewer, _SPACED if spaced else _OPTIONS)
        if _build_error(answer_grammar(held)) is None:
            return Prepared(held, _typos(schema))
    raise _refusal(normalised, error)


def _normalised(schema: Any) -> Schema:
    """A copy of a schema in the form that llguidance reads as the standard does."""
    held = copy.deepcopy(keywords(schema))
    held.pop("x-guidance", None)  # llguidance's options are not the user's
    named = _draft_named(held)
    if not any(draft in named for draft in _KNOWN_DRAFTS):
        held.pop("$schema", None)
    if _ignores_siblings(named):
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
    forms = [closed, held] if close_objects(closed, refs_stand_alone=_ignores_siblings(_draft_named(held))) else [held]
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


def _check_chances(built: Built, text: str) -> None:
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


def _ignores_siblings(draft: str) -> bool:
    """Whether a draft ignores what stands beside a ``$ref``."""
    return any(old in draft for old in _BEFORE_2019)


def _draft_named(schema: Any) -> str:
    named = keywords(schema).get("$schema")
    return named if isinstance(named, str) else ""


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
    schema = json.dumps({"type": "string", "pattern": pattern, "x-guidance": _OPTIONS})
    return _build_error(answer_grammar(schema)) is None


def check_grammar(grammar: str) -> None:
    """Build a grammar in llguidance's own language, which begins with ``%llguidance``.

    Raises:
        RefusedError: it is faulty, nothing satisfies it, or it takes too long to build.
    """
    error = _build_error(grammar)
    if error is not None:
        raise RefusedError("invalid", "", error, "Correct the grammar: llguidance's docs/syntax.md has its language.")


def _encoded(held: Schema, options: Schema = _OPTIONS) -> str:
    return json.dumps({**held, "x-guidance": options}, separators=(",", ":"))


class Built(NamedTuple):
    """A grammar that can be built and followed.

    Parameters:
        matcher: follows texts of it, of which none has begun.
        warnings: what llguidance leaves out.
    """

    matcher: LLMatcher
    warnings: list[str]


def _build(grammar: str) -> Built | str:
    """A grammar as it is built; or why it cannot be, or has no first character."""
    began = time.process_time()
    text = LLMatcher.grammar_from_lark(grammar)
    is_error, messages = LLMatcher.validate_grammar_with_warnings(text)
    if is_error:
        return messages[0]
    matcher = LLMatcher(_byte_tokenizer(), text, log_level=0)
    tried = matcher.deep_copy()
    go_in(tried, TRIED_BYTES)
    if (lost := tried.get_error()) and "Parser Error" in lost:
        return lost.partition("<state>")[0]
    if tried.is_error():
        return "Unsatisfiable schema: no text begins what it describes"
    if time.process_time() - began > MAX_BUILD_SEC:
        return f"grammar size: it takes more than {MAX_BUILD_SEC} s of processor time to build"
    return Built(matcher, messages)


def _build_error(grammar: str) -> str | None:
    """Why a grammar cannot be built; ``None`` where it can."""
    built = _build(grammar)
    return built if isinstance(built, str) else None


_tokenizers: list[LLTokenizer] = []


def _byte_tokenizer() -> LLTokenizer:
    if not _tokenizers:
        _tokenizers.append(LLTokenizer("byte"))
    return _tokenizers[0]


def _parsed(text: str) -> Any:
    if len(text) > MAX_SCHEMA_CHARS:
        why = f"it has {len(text)} characters, and {MAX_SCHEMA_CHARS} are the limit"
        raise RefusedError("unsupported", "$", why, "Ask for a smaller part of the answer at a time.")
    if depth_of(text) > MAX_DEPTH:
        why = f"its objects and lists are nested more than {MAX_DEPTH} deep"
        raise RefusedError("unsupported", "$", why, "Move inner schemas to $defs, and refer to them.")
    schema: Any = json.loads(text)
    if schema is False:
        raise RefusedError(
            "unsatisfiable", "$", "nothing satisfies the schema false", "Give one that allows some value."
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
            f"The meta-schema of the draft that it names ({kind.META_SCHEMA['$schema']}) says what may stand there.",
        ) from None


def _check_references(schema: Any) -> None:
    """Refuse references that lead nowhere; none is fetched."""
    draft = specification_with(_draft_named(schema), default=DRAFT202012)
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
                        f"the reference {reference!r} leads nowhere",
                        "Put what it refers to into the schema's $defs: nothing is fetched.",
                    ) from None
        for child in children(inner):
            below = resolver
            if isinstance(keywords(child.schema).get("$id"), str):
                below = resolver.in_subresource(draft.create_resource(child.schema))
            waiting.append((child.schema, (*pointer, *child.pointer), below))


def _typos(schema: Any) -> list[str]:
    """Keywords that no draft knows and that look like one of those that a draft knows."""
    known = sorted(KEYWORDS - ANNOTATIONS - CORE)
    found: list[str] = []
    for pointer, place in places(schema):
        for keyword in keywords(place):
            if keyword in KEYWORDS or len(keyword) < MIN_TYPO_CHARS or not keyword[0].isalpha():
                continue
            if close := difflib.get_close_matches(keyword, known, 1, cutoff=0.84):
                found.append(f"{path_of((*pointer, keyword))} is no keyword and is ignored; did you mean {close[0]!r}?")
    return found


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
    return _build_error(answer_grammar(_encoded(alone)))
