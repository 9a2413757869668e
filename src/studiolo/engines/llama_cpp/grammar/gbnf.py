"""The pieces that grammars are made of. Source of the notation: llama.cpp, grammars/README.md.

An *expression* is text that can stand in a sequence: a rule's name, a literal, a class of characters or a group.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

MAX_CODE_POINT = 0x10FFFF
Range = tuple[int, int]
"""The first and the last code point of a stretch."""

BASE_RULES = {
    # Bounded, so that a model cannot fill its answer with white space.
    "ws": r'( " " | "\n" [ \t]{0,20} )?',
    "hex": "[0-9a-fA-F]",
    # A surrogate is half a character: the length of a string would be wrong.
    "escape": r'"\\" ( ["\\/bfnrt] | "u" ( [0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex ) )',
    "char": r'[^"\\\x00-\x1F\x7F] | escape',
    "string": r'"\"" char* "\""',
    "number": r'"-"? ( "0" | [1-9] [0-9]{0,14} ) ( "." [0-9]{1,15} )? ( [eE] [-+]? [0-9]{1,2} )?',
    "integer": r'"0" | "-"? [1-9] [0-9]{0,14}',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "member": 'string ws ":" ws value',
    "object": '"{" ws ( member ws ( "," ws member ws )* )? "}"',
    "array": '"[" ws ( value ws ( "," ws value ws )* )? "]"',
}


def literal(text: str) -> str:
    """``text`` as it stands; it must not be empty."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'


def json_literal(value: Any) -> str:
    """A JSON value, as it stands or in ASCII: there are vocabularies that cannot write every character."""
    ways = (json.dumps(value, ensure_ascii=ascii_alone, separators=(", ", ": ")) for ascii_alone in (False, True))
    return union(literal(way) for way in ways)


def union(alternatives: Iterable[str]) -> str:
    """Any of some expressions."""
    found = list(dict.fromkeys(alternatives))
    return found[0] if len(found) == 1 else f"( {' | '.join(found)} )"


def repeated(expression: str, least: int, most: int | None) -> str:
    """An expression, ``least`` to ``most`` times; empty for none."""
    if most == 0:
        return ""
    if (least, most) == (1, 1):
        return expression
    match least, most:
        case 0, 1:
            times = "?"
        case 0, None:
            times = "*"
        case 1, None:
            times = "+"
        case _:
            times = f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
    return f"( {expression} ){times}"


def char_class(ranges: Iterable[Range]) -> str:
    """One character out of some stretches, of which there must be one."""
    return "[" + "".join(_escaped(a) if a == b else f"{_escaped(a)}-{_escaped(b)}" for a, b in ranges) + "]"


def _escaped(code: int) -> str:
    if chr(code).isascii() and chr(code).isalnum():
        return chr(code)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def complement(ranges: Iterable[Range], last: int = MAX_CODE_POINT) -> list[Range]:
    """The code points up to ``last`` that are in none of ``ranges``."""
    out: list[Range] = []
    start = 0
    for a, b in merged(ranges):
        if a > start:
            out.append((start, a - 1))
        start = max(start, b + 1)
    if start <= last:
        out.append((start, last))
    return out


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same code points in order, as few stretches as possible."""
    out: list[Range] = []
    for a, b in sorted(ranges):
        if out and a <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(b, out[-1][1]))
        else:
            out.append((a, b))
    return out


_SHORT_ESCAPES = {0x08: "b", 0x09: "t", 0x0A: "n", 0x0C: "f", 0x0D: "r", 0x22: '"', 0x5C: "\\"}
_NOT_PLAIN: list[Range] = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]


def json_char(ranges: Iterable[Range]) -> str | None:
    """One character out of some stretches, as it stands in a JSON string; ``None`` where there is none."""
    wanted = merged(ranges)
    out_of = complement(wanted)
    plain = complement(merged([*out_of, *_NOT_PLAIN]))
    alternatives = [char_class(plain)] if plain else []
    for code in [*range(0x20), 0x22, 0x5C, 0x7F]:
        if any(a <= code <= b for a, b in wanted):
            escape = _SHORT_ESCAPES.get(code) or f"u{code:04x}"
            alternatives.append(literal("\\" + escape))
    if wanted and wanted[0][0] > 0x7F:  # none that every vocabulary can write
        alternatives += [literal(_ascii_escape(code)) for code in {code for pair in plain[:8] for code in pair}]
    return union(alternatives) if alternatives else None


def _ascii_escape(code: int) -> str:
    return json.dumps(chr(code))[1:-1]


def other_strings(names: Iterable[str]) -> str:
    """A JSON string, without escapes, that is none of ``names``."""
    return f'"\\"" {_other_tail(sorted(set(names)), first=True)} "\\""'


def _other_tail(names: list[str], first: bool) -> str:
    """What may follow a common beginning, of which ``names`` are the forbidden continuations."""
    plain = complement(_NOT_PLAIN)
    any_tail = char_class(plain) + "*"
    if not names:
        return any_tail
    by_head: dict[str, list[str]] = {}
    for name in names:
        if name:
            by_head.setdefault(name[0], []).append(name[1:])
    heads = [(ord(head), ord(head)) for head in by_head]
    alternatives = [f"{char_class(complement(merged([*_NOT_PLAIN, *heads])))} {any_tail}"]
    for head, tails in by_head.items():
        if any(a <= ord(head) <= b for a, b in plain):
            alternatives.append(f"{char_class([(ord(head), ord(head))])} {_other_tail(tails, first=False)}")
    if "" not in names:
        return f"( {' | '.join(alternatives)} )?"
    return f"( {' | '.join(alternatives)} )"
