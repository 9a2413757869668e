"""Regular expressions as grammars, by the tree that Python's own parser makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .gbnf import Range, complement, json_char, merged, repeated, union

_parser: Any = import_module("re._parser")  # as re.compile sees a pattern; there is no public door to it
_ASCII_LAST = 0x7F

_DIGITS: list[Range] = [(0x30, 0x39)]
_WORD: list[Range] = [*_DIGITS, (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: list[Range] = [(0x09, 0x0D), (0x20, 0x20)]
# What is not a digit is so in every reading of \D among the ASCII characters alone: Python's \d has all of Unicode's.
_CATEGORIES: dict[str, list[Range]] = {
    "CATEGORY_DIGIT": _DIGITS,
    "CATEGORY_NOT_DIGIT": complement(_DIGITS, _ASCII_LAST),
    "CATEGORY_WORD": _WORD,
    "CATEGORY_NOT_WORD": complement(_WORD, _ASCII_LAST),
    "CATEGORY_SPACE": _SPACE,
    "CATEGORY_NOT_SPACE": complement([*_SPACE, (0x1C, 0x1F)], _ASCII_LAST),
}
_LARGEST_COUNT = 1000


@dataclass(frozen=True)
class Building:
    """Makes the error for something that cannot be held to.

    Parameters:
        error: makes the error.
        rule: makes a rule of an expression, and returns its name.
    """

    error: Callable[[str], Exception]
    rule: Callable[[str], str]

    def __call__(self, why: str) -> Exception:
        return self.error(why)


def pattern_rule(pattern: str, refuse: Building) -> str:
    """What stands between the quotation marks of a JSON string that has a match of ``pattern``.

    Parameters:
        refuse: makes the error for something that cannot be held to, and rules.
    """
    try:
        parsed = _parser.parse(pattern)
        tree = list(parsed)
    except Exception as error:  # re.error, RecursionError, OverflowError
        raise refuse(f"it is not a regular expression: {error}") from None
    if parsed.state.flags & ~re.UNICODE:
        raise refuse("flags such as (?i) are not supported")
    if len(tree) == 1 and _name(tree[0][0]) == "BRANCH":
        return union(_anchored(list(branch), refuse) for branch in tree[0][1][1])
    return _anchored(tree, refuse)


def _name(code: Any) -> str:
    return str(code)


def _anchored(tree: list[Any], refuse: Building) -> str:
    """A sequence with anything before and after it, but where an anchor stands."""
    before = after = "char*"
    while tree and _name(tree[0][0]) == "AT" and _name(tree[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        before, tree = "", tree[1:]
    while tree and _name(tree[-1][0]) == "AT" and _name(tree[-1][1]) in ("AT_END", "AT_END_STRING"):
        after, tree = "", tree[:-1]
    expression, _ = _sequence(tree, refuse)
    return f"( {' '.join(part for part in (before, expression, after) if part) or _EMPTY} )"


_EMPTY = '""'


def _sequence(tree: list[Any], refuse: Building, times: int = 1) -> tuple[str, bool]:
    """The expression of a sequence, and whether it can be empty."""
    parts = [_item(_name(code), value, refuse, times) for code, value in tree]
    return " ".join(expression for expression, _ in parts if expression), all(empty for _, empty in parts)


def _item(code: str, value: Any, refuse: Building, times: int) -> tuple[str, bool]:
    match code:
        case "LITERAL":
            return _one([(value, value)], refuse), False
        case "NOT_LITERAL":
            return _one(complement([(value, value)]), refuse), False
        case "ANY":
            return _one(complement([(0x0A, 0x0A)]), refuse), False
        case "IN":
            return _one(_class(value, refuse), refuse), False
        case "BRANCH":
            branches = [_sequence(list(branch), refuse, times) for branch in value[1]]
            expression = " | ".join(text or _EMPTY for text, _ in branches)
            return f"( {expression} )", any(empty for _, empty in branches)
        case "SUBPATTERN":
            _, switched_on, switched_off, tree = value
            if switched_on or switched_off:
                raise refuse("flags such as (?i:...) are not supported")
            expression, empty = _sequence(list(tree), refuse, times)
            return (f"( {expression} )" if expression else ""), empty
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, most, tree = value
            endless = _name(most) == "MAXREPEAT"
            times *= max(1, least if endless else most)
            if times > _LARGEST_COUNT:
                raise refuse(f"counts above {_LARGEST_COUNT}, multiplied where they are nested, are not supported")
            expression, empty = _sequence(list(tree), refuse, times)
            if not expression:
                return "", True
            if empty and (endless or most > 1):
                raise refuse("a repetition of what can be empty is not supported")
            return repeated(refuse.rule(expression), least, None if endless else most), empty or least == 0
        case "AT":
            raise refuse("an anchor such as ^, $ or \\b is supported at the beginning and the end alone")
        case _:
            names = {"ASSERT": "lookahead and lookbehind", "ASSERT_NOT": "lookahead and lookbehind"}
            names |= {"GROUPREF": "backreferences", "GROUPREF_EXISTS": "conditions"}
            raise refuse(f"{names.get(code, code.lower().replace('_', ' '))}: not supported")


def _class(items: list[Any], refuse: Building) -> list[Range]:
    ranges: list[Range] = []
    negated = False
    last = 0x10FFFF
    for code, value in items:
        match _name(code):
            case "NEGATE":
                negated = True
            case "LITERAL":
                ranges.append((value, value))
            case "RANGE":
                ranges.append(value)
            case "CATEGORY" if _name(value) in _CATEGORIES:
                last = _ASCII_LAST
                ranges += _CATEGORIES[_name(value)]
                if negated and "NOT" in _name(value):  # what it leaves out must be all of it
                    raise refuse("a class like [^\\D] is not supported")
            case _:
                raise refuse(f"the class has {value}, which is not supported")
    if not negated:
        return merged(ranges)
    if last == _ASCII_LAST:
        ranges.append((0x1C, 0x1F))
    return complement(ranges, last)


def _one(ranges: list[Range], refuse: Building) -> str:
    expression = json_char(ranges)
    if expression is None:
        raise refuse("a class of characters is empty")
    return expression
