"""Finished answers against their schemas, by the library ``jsonschema``. Runs in the worker."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match  # pyright: ignore[reportUnknownVariableType]
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs]

from .subschemas import Pointer, keywords, path_of, places


def draft_of(schema: Any) -> Any:
    """The validator class of the draft that a schema names; of 2020-12 where it names none."""
    named = keywords(schema).get("$schema")
    return validator_for({"$schema": named} if isinstance(named, str) else {}, default=Draft202012Validator)


class Fault(NamedTuple):
    """What is wrong with an answer.

    Parameters:
        message: in words.
        schema_path: the keyword that it breaks, such as ``$.properties.a.type``; ``$`` where it breaks none.
    """

    message: str
    schema_path: str = "$"


def check(schema_text: str, answer: str) -> str | None:
    """What is wrong with a finished answer, or ``None``.

    Parameters:
        schema_text: a schema that :func:`.preparation.prepare` has accepted.
    """
    fault = fault_of(schema_text, answer)
    return fault and fault.message


def fault_of(schema_text: str, answer: str) -> Fault | None:
    """The same with the keyword that the answer breaks."""
    try:
        value = json.loads(answer)
    except ValueError as error:
        return Fault(f"it is not a whole JSON value ({error})")
    try:
        found = cast("Any", best_match(_validator(schema_text).iter_errors(value)))
    except Exception as error:  # of any kind: infinite numbers and deep recursion among them
        return Fault(f"it could not be validated ({type(error).__name__}: {error})")
    if found is None:
        return None
    message = found.message if len(found.message) <= 300 else f"{found.message[:300]}..."
    path = path_of(tuple(found.absolute_schema_path))
    return Fault(f"{path_of(tuple(found.absolute_path))} breaks {path}: {message}", path)


@lru_cache(maxsize=32)
def _validator(schema_text: str) -> Validator:
    schema: Any = json.loads(schema_text)
    leave_out_patterns(schema, is_readable, relax=True)
    return draft_of(schema)(schema, registry=REGISTRY)  # a registry of its own fetches nothing


def is_readable(pattern: str) -> bool:
    """Whether Python's regular expressions take a pattern; those of JSON Schema are ECMAScript's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def leave_out_patterns(schema: Any, takes: Callable[[str], bool], *, relax: bool) -> list[tuple[Pointer, str]]:
    """Leave out in place the patterns that a reader does not take; returns where each was.

    Parameters:
        takes: whether the reader takes a pattern.
        relax: leave out ``additionalProperties`` beside a lost entry of ``patternProperties``, too: it would now speak
            of more properties than before.
    """
    left_out: list[tuple[Pointer, str]] = []
    for pointer, place in list(places(schema)):
        inner = keywords(place)
        pattern = inner.get("pattern")
        if isinstance(pattern, str) and not takes(pattern):
            del inner["pattern"]
            left_out.append(((*pointer, "pattern"), pattern))
        unread = [name for name in keywords(inner.get("patternProperties")) if not takes(name)]
        for name in unread:
            del inner["patternProperties"][name]
            left_out.append(((*pointer, "patternProperties"), name))
        if unread and relax:
            inner.pop("additionalProperties", None)
            inner.pop("unevaluatedProperties", None)
    return left_out
