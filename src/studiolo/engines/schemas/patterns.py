"""Regular expressions: those that llguidance reads as the standard does, and words for those that no grammar holds.

JSON Schema's are ECMAScript's; llguidance reads Rust's, and the finished answer is validated with Python's.
"""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

from .grammar import answer_grammar
from .grammar_build import OPTIONS, Built, build, build_error, encoded
from .grammar_samples import fault_of_most
from .rewrites import split_look_ahead
from .schema_checks import RefusedError
from .subschemas import Pointer, Schema, at, keywords, path_of, places
from .validation import is_readable, remove_patterns

_OF_STRINGS = ("pattern", "minLength", "maxLength", "format", "allOf")

_CLASS = re.compile(r"\\.|(\[\^?\]?)((?:\\.|[^\]\\])*)\]", re.DOTALL)
_FEATURES = (
    (
        r"\(\?<[=!]",
        "look-behind",
        "Write what comes before as a part of the pattern: '(?<=a)b' as 'ab', '(?<!a)b' as '(^|[^a])b'.",
    ),
    (
        r"\\[1-9]|\\k<|\(\?P=",
        "a backreference",
        r"List the texts that may repeat, such as '^(aa|bb)$' for '^([ab])\1$', or use enum.",
    ),
    (
        r"\(\?[=!]",
        "look-ahead",
        "Write what follows as a part of the pattern: 'a(?=b)' as 'ab', 'a(?!b)' as 'a([^b]|$)'; at the beginning, "
        "look-ahead such as '^(?=.*[0-9])[a-z0-9]+$' is supported.",
    ),
    (
        r"\\[bB]",
        "a word boundary",
        r"Write the characters around the word: '\bword\b' as '(^|[^0-9A-Za-z_])word($|[^0-9A-Za-z_])'.",
    ),
    (r"\(\?\(", "a condition", "Write both cases as alternatives: '(a|b)'."),
    (r"\(\?>|[*+?}]\+", "an atomic group", "Write an ordinary group: '(?:a+)b' for '(?>a+)b'."),
    (r"(?<!^)\^|\$(?!$)", "an anchor inside", "Write ^ only at the beginning and $ only at the end."),
)


def escape_classes(schema: Schema) -> None:
    """Escape in place the characters of classes that mean themselves, and more to Rust: ``[[:a]`` and ``[a&&b]``."""
    for place in places(schema):
        inner = keywords(place.schema)
        pattern = inner.get("pattern")
        if isinstance(pattern, str):
            inner["pattern"] = _CLASS.sub(_escaped, pattern)


def _escaped(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    inside = re.sub(r"(\\.)|([\[&~])", lambda char: char[1] or f"\\{char[2]}", match[2], flags=re.DOTALL)
    return f"{match[1]}{inside}]"


def remove_unsupported_patterns(schema: Schema) -> bool:
    """Remove in place the patterns that llguidance does not support; they are left to the validation.

    Returns:
        Whether there were any.

    Raises:
        RefusedError: the validation does not support one either, or hardly any text without it satisfies it.
    """
    unsupported: list[tuple[Pointer, str]] = []
    for pointer, place in places(schema):
        pattern = keywords(place).get("pattern")
        if isinstance(pattern, str) and not _is_supported(pattern):
            unsupported.append((pointer, pattern))
    split = split_look_ahead(schema, _is_supported)
    removed = remove_patterns(schema, _is_supported, relax=False)
    for pointer, pattern in removed:
        if not is_readable(pattern):
            raise _refused(pointer, pattern)
    for pointer, pattern in unsupported:
        if _is_hardly_met(pattern, keywords(at(schema, pointer))):
            raise _refused((*pointer, "pattern"), pattern)
    return split or bool(removed)


def _is_supported(pattern: str) -> bool:
    return build_error(answer_grammar(encoded({"type": "string", "pattern": pattern}, OPTIONS))) is None


def _is_hardly_met(pattern: str, rest: Schema) -> bool:
    """Return whether hardly any string that satisfies the rest of its schema matches a pattern."""
    string: dict[str, Any] = {keyword: rest[keyword] for keyword in _OF_STRINGS if keyword in rest}
    string["type"] = "string"
    built = build(answer_grammar(encoded(string, OPTIONS)))
    wanted = json.dumps({"type": "string", "pattern": pattern})
    return isinstance(built, Built) and fault_of_most(built.matcher, wanted) is not None


def _refused(pointer: Pointer, pattern: str) -> RefusedError:
    shown = repr(pattern if len(pattern) <= 100 else f"{pattern[:100]}...")
    bare = re.sub(r"\\[^bBk1-9]", "", _CLASS.sub(lambda match: match[0] if match[1] is None else "", pattern))
    for found, name, hint in _FEATURES:
        if re.search(found, bare):
            why = f"the regular expression {shown} has {name}, which no grammar can hold"
            return RefusedError("unsupported", path_of(pointer), why, hint)
    why = f"no grammar can hold the regular expression {shown}{_python_error(pattern)}"
    hint = "Use what ECMAScript, Rust and Python share: characters, classes, groups, alternatives and repetition."
    return RefusedError("unsupported", path_of(pointer), why, hint)


def _python_error(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f" ({error})"
    return ""
