"""Validate finished answers against their schemas, with the library ``jsonschema``. Runs in the worker."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match  # pyright: ignore[reportUnknownVariableType]
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for  # pyright: ignore[reportUnknownVariableType]
from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs]

from .subschemas import Pointer, keywords, path_of, places


def draft_of(schema: Any) -> Any:
    """Return the validator class of the draft in a schema's ``$schema``; of 2020-12 if it has none."""
    named = keywords(schema).get("$schema")
    return validator_for({"$schema": named} if isinstance(named, str) else {}, default=Draft202012Validator)


class Fault(NamedTuple):
    """A violation of a schema by an answer.

    Parameters:
        message: the description for users.
        schema_path: the violated keyword, such as ``$.properties.a.type``; ``$`` if it is none in particular.
    """

    message: str
    schema_path: str = "$"


def check(schema_text: str, answer: str) -> str | None:
    """Return the message of a violation by a finished answer; ``None`` if it is valid.

    Parameters:
        schema_text: a schema that :func:`.preparation.prepare` has accepted.
    """
    fault = fault_of(schema_text, answer)
    return fault and fault.message


def fault_of(schema_text: str, answer: str) -> Fault | None:
    """Return a violation by a finished answer; ``None`` if it is valid."""
    try:
        value = json.loads(answer, parse_float=_spelled)
    except ValueError as error:
        return Fault(f"it is not a whole JSON value ({error})")
    except RecursionError:
        return Fault("it could not be validated: it is nested too deep")
    try:
        found = cast("Any", best_match(_validator(schema_text).iter_errors(value)))
    except Exception as error:  # any exception: infinite numbers and deep recursion are among the causes
        return Fault(f"it could not be validated ({type(error).__name__}: {error})")
    if found is None:
        return None
    message = found.message if len(found.message) <= 300 else f"{found.message[:300]}..."
    path = path_of(tuple(found.absolute_schema_path))
    return Fault(f"{path_of(tuple(found.absolute_path))} breaks {path}: {message}", path)


@lru_cache(maxsize=32)
def _validator(schema_text: str) -> Validator:
    schema: Any = json.loads(schema_text)
    remove_patterns(schema, is_readable, relax=True)
    return _exact(draft_of(schema))(schema, registry=REGISTRY)  # with a registry given, no reference is fetched


@lru_cache
def _exact(draft: Any) -> Any:
    """Return the validator class of a draft with decimal arithmetic: for jsonschema 19.99 is no multiple of 0.01."""
    return cast("Any", extend(draft, {"multipleOf": _multiple_of}))


class _SpelledFloat(float):
    """A number with all the digits of its text."""

    text: str


def _spelled(text: str) -> float:
    value = _SpelledFloat(text)
    value.text = text
    return value


def _multiple_of(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(value, "number") or value == 0:
        return
    if math.isinf(value):
        yield ValidationError("it is too large to be a number")
        return
    text = value.text if isinstance(value, _SpelledFloat) else repr(value)
    if Fraction(text) % Fraction(repr(step)):
        yield ValidationError(f"{text} is not a multiple of {step!r}")


def is_readable(pattern: str) -> bool:
    """Return whether Python's ``re`` can compile a pattern, which JSON Schema defines as ECMAScript's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def remove_patterns(schema: Any, accepts: Callable[[str], bool], *, relax: bool) -> list[tuple[Pointer, str]]:
    """Remove in place the patterns that a regular expression engine does not support. Return them with their places.

    Parameters:
        accepts: returns whether the engine supports a pattern.
        relax: also remove ``additionalProperties`` beside a removed entry of ``patternProperties``: it would apply to
            more properties than before.
    """
    removed: list[tuple[Pointer, str]] = []
    for pointer, place in list(places(schema)):
        inner = keywords(place)
        pattern = inner.get("pattern")
        if isinstance(pattern, str) and not accepts(pattern):
            del inner["pattern"]
            removed.append(((*pointer, "pattern"), pattern))
        unsupported = [name for name in keywords(inner.get("patternProperties")) if not accepts(name)]
        for name in unsupported:
            del inner["patternProperties"][name]
            removed.append(((*pointer, "patternProperties"), name))
        if unsupported and relax:
            inner.pop("additionalProperties", None)
            inner.pop("unevaluatedProperties", None)
    return removed
