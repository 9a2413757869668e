"""Bring numbers in a schema within llguidance's limits, or refuse them with their place.

llguidance reads every number as a double. Bounds of integers then become signed integers of 64 bits, and ``multipleOf``
becomes an unsigned coefficient of 32 bits and a power of ten. Beyond that it rounds, overflows, or refuses the schema.
A bound that it cannot hold is moved outwards or left out; the validation of the finished answer is exact. A schema is
refused if such a grammar would hardly have a right answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeGuard, cast

from llguidance import LLMatcher

from .grammar import answer_grammar
from .grammar_build import OPTIONS, Built, build, encoded
from .schema_checks import RefusedError
from .subschemas import Pointer, Schema, keywords, path_of, places

MAX_COUNTED = 10_000
"""Items or properties that a grammar counts at most: llguidance expands each."""

MAX_LISTED = 64
"""Multiples between two bounds that are listed at most."""

MAX_MIN_LENGTH = 1_000_000
"""Characters that a string must have, at most."""

_EXACT = 2**53
"""Doubles hold every integer up to here."""

_LARGEST = 2**63 - 1
"""llguidance's largest integer."""

_LARGEST_ALONE = 10**18 - 128
"""The farthest bound from zero without one on its other side: llguidance also counts to the last number as long."""

_FARTHEST = 2**64
"""The farthest lower bound above zero, or upper bound below it, of which the grammar holds the number of digits."""

_SMALLEST = 1e-60
"""Smaller bounds are rounded to zero: llguidance nests one group a decimal, and 250 at most."""

_DOUBLE_PAIR = 2.0**63 - 1024
_LARGEST_STEP = 10**7
_LARGEST_SHORT_STEP = 2**16
"""The largest ``multipleOf`` without trailing zeros: a grammar has a state for each remainder."""

_LARGEST_DOUBLE = 1.7976931348623157e308

_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")

_Number = int | float


def limit_numbers(document: Schema) -> None:
    """Rewrite the numbers of a schema in place.

    Raises:
        RefusedError: a number is beyond llguidance's limits, and no grammar without it is of use.
    """
    for pointer, place in places(document):
        schema = keywords(place)
        _limit_counts(schema, pointer)
        _limit_bounds(schema, pointer)
        _join_steps(schema, pointer)
        _check_values(schema, pointer)
    _shorten(document)


def contradiction(schema: Any) -> tuple[str, str] | None:
    """Return the keyword and the description of bounds that no number satisfies; ``None`` if they allow one."""
    inner = keywords(schema)
    low, high = _strictest(inner, _LOWER), _strictest(inner, _UPPER)
    if low is None or high is None or not _is_empty(inner, low, high):
        return None
    kind = "integer" if _only_integers(inner) else "number"
    parts = [f"{keyword} {_short(inner[keyword])}" for keyword in (*_LOWER, *_UPPER) if keyword in inner]
    return low.keyword, f"no {kind} satisfies {', '.join(parts[:-1])} and {parts[-1]}"


def _limit_counts(schema: Schema, pointer: Pointer) -> None:
    for keyword in _COUNTS:
        count = schema.get(keyword)
        if not _is_number(count):
            continue
        most = MAX_MIN_LENGTH if keyword.endswith("Length") else MAX_COUNTED
        if keyword.startswith("min") and count > most:
            raise RefusedError(
                "unsupported",
                path_of((*pointer, keyword)),
                f"a grammar counts to {most} at most, not to {_short(count)}",
                f"Lower {keyword} to {most}, or split the answer into several requests.",
            )
        if count > most:
            del schema[keyword]  # left to the validation
        else:
            schema[keyword] = int(count)


class _Bound:
    """The strictest bound on one side.

    Parameters:
        keyword: the keyword that sets it.
        value: the number.
        exclusive: whether the number itself is excluded.
    """

    def __init__(self, keyword: str, value: _Number, exclusive: bool) -> None:
        self.keyword = keyword
        self.value = value
        self.exclusive = exclusive

    def whole(self, direction: int) -> int:
        """Return the first integer within the bound; ``direction`` is 1 for a lower one and -1 for an upper one."""
        value = Fraction(self.value) * direction
        return direction * (math.floor(value) + 1 if self.exclusive else math.ceil(value))


def _strictest(schema: Schema, side: tuple[str, str]) -> _Bound | None:
    inclusive, exclusive = (schema.get(keyword) for keyword in side)
    found: list[_Bound] = []
    if _is_number(inclusive):
        found.append(_Bound(side[0], _finite(inclusive), exclusive is True))
    if _is_number(exclusive):
        found.append(_Bound(side[1], _finite(exclusive), True))
    sign = 1 if side is _LOWER else -1
    return max(found, key=lambda bound: (sign * bound.value, bound.exclusive), default=None)


def _is_empty(schema: Schema, low: _Bound, high: _Bound) -> bool:
    if _only_integers(schema):
        return low.whole(1) > high.whole(-1)
    return low.value > high.value or (low.value == high.value and (low.exclusive or high.exclusive))


def _only_integers(schema: Schema) -> bool:
    types = schema.get("type")
    names = cast("list[Any]", types) if isinstance(types, list) else [types]
    return "integer" in names and "number" not in names


def _limit_bounds(schema: Schema, pointer: Pointer) -> None:
    low, high = _strictest(schema, _LOWER), _strictest(schema, _UPPER)
    for bound, sign in ((low, 1), (high, -1)):
        if bound is not None and bound.value * sign > _FARTHEST:
            raise RefusedError(
                "unsupported",
                path_of((*pointer, bound.keyword)),
                f"the bound {_short(bound.value)} is beyond 2^64, and llguidance's numbers end at 2^63",
                f"Use a bound within {-_FARTHEST} and {_FARTHEST}, or a string with a pattern such as "
                "'^[1-9][0-9]{20,}$'.",
            )
    if low is not None and high is not None and _is_empty(schema, low, high):
        _replace_bounds(schema, 1, 0)  # llguidance calls that unsatisfiable, where others are errors
    elif low is not None and high is not None and isinstance(schema.get("multipleOf"), float):
        _list_steps(schema, low, high)
    elif _only_integers(schema):
        _limit_integers(schema, low, high)
    else:
        _limit_decimals(schema, low, high)


def _list_steps(schema: Schema, low: _Bound, high: _Bound) -> None:
    """Rewrite in place the few multiples between two bounds as ``enum``: llguidance counts them in doubles."""
    step = _fraction(schema["multipleOf"])
    first, last = math.ceil(_fraction(low.value) / step), math.floor(_fraction(high.value) / step)
    first += low.exclusive and first * step == _fraction(low.value)
    last -= high.exclusive and last * step == _fraction(high.value)
    if first > last:
        _replace_bounds(schema, 1, 0)
    elif last - first < MAX_LISTED and schema.get("type") == "number" and not schema.keys() & {"enum", "const"}:
        _replace_bounds(schema, None, None)
        del schema["multipleOf"]
        schema["enum"] = [float(index * step) for index in range(first, last + 1)]


def _replace_bounds(schema: Schema, low: _Number | None, high: _Number | None) -> None:
    for keyword in (*_LOWER, *_UPPER):
        schema.pop(keyword, None)
    if low is not None:
        schema["minimum"] = low
    if high is not None:
        schema["maximum"] = high


def _limit_integers(schema: Schema, low: _Bound | None, high: _Bound | None) -> None:
    first = None if low is None else low.whole(1)
    last = None if high is None else high.whole(-1)
    if max(abs(first or 0), abs(last or 0)) <= _EXACT:
        return
    first, last = _as_double(first, -1), _as_double(last, 1)
    if first is not None and last is None:
        first = min(first, _LARGEST_ALONE)
    elif last is not None and first is None:
        last = max(last, -_LARGEST_ALONE)
    _replace_bounds(schema, first, last)


def _as_double(bound: int | None, direction: int) -> int | None:
    """Return the next integer in a direction that a double holds exactly; ``None`` if llguidance cannot hold it."""
    if bound is None:
        return None
    spacing = 1 << max(0, bound.bit_length() - 53)
    moved = -(-bound * direction // spacing) * spacing * direction
    if bound * direction > _LARGEST or (direction < 0 and moved < -_LARGEST):
        return None
    return max(min(moved, _LARGEST), -_LARGEST)


def _limit_decimals(schema: Schema, low: _Bound | None, high: _Bound | None) -> None:
    farthest: float = _LARGEST_ALONE
    if low is not None and high is not None and max(abs(low.value), abs(high.value)) <= _DOUBLE_PAIR:
        farthest = _DOUBLE_PAIR
    for keywords_of_side, sign in ((_LOWER, 1), (_UPPER, -1)):
        for keyword in keywords_of_side:
            value = schema.get(keyword)
            if not _is_number(value):
                continue
            moved = _decimal(sign * _finite(value), farthest)
            if moved is None:
                del schema[keyword]
                if schema.get(keywords_of_side[1]) is True:
                    del schema[keywords_of_side[1]]
            elif sign * moved != value:
                schema[keyword] = sign * moved


def _decimal(value: _Number, farthest: float) -> _Number | None:
    """Return a lower bound for a number's grammar, at most ``value``; ``None`` for none."""
    if value < -farthest:
        return None
    if value > farthest:
        return farthest
    if 0 < abs(value) < _SMALLEST:
        return 0 if value > 0 else -_SMALLEST
    double = float(value)
    return math.nextafter(double, -math.inf) if double > value else value


def _join_steps(schema: Schema, pointer: Pointer) -> None:
    """Join in place the ``multipleOf`` of a schema and of its ``allOf``: llguidance multiplies them in 32 bits."""
    found = list(_steps(schema, pointer))
    for holder, place in found:
        _check_step(holder["multipleOf"], place)
    if len(found) < 2:
        return
    steps = [_fraction(holder["multipleOf"]) for holder, _ in found]
    scale = math.lcm(*(step.denominator for step in steps))
    joint = Fraction(math.lcm(*(int(step * scale) for step in steps)), scale)
    _check_step(float(joint) if joint.denominator > 1 else int(joint), found[-1][1])
    for holder, _ in found[:-1]:
        del holder["multipleOf"]
    found[-1][0]["multipleOf"] = float(joint) if joint.denominator > 1 else int(joint)


def _steps(schema: Any, pointer: Pointer) -> Iterator[tuple[Schema, Pointer]]:
    inner = keywords(schema)
    if _is_number(inner.get("multipleOf")):
        yield inner, (*pointer, "multipleOf")
    parts = inner.get("allOf")
    for index, part in enumerate(cast("list[Any]", parts) if isinstance(parts, list) else ()):
        yield from _steps(part, (*pointer, "allOf", index))


def _check_step(step: Any, place: Pointer) -> None:
    """Refuse a ``multipleOf`` that llguidance cannot hold. It multiplies by ten until no decimals are left."""
    value, decimals = abs(_finite(step)), 0
    while value % 1 and decimals < 400:
        value, decimals = value * 10.0, decimals + 1
    if (
        value > _LARGEST_STEP
        or int(str(int(value)).rstrip("0") or 0) > _LARGEST_SHORT_STEP
        or Fraction(int(value), 10**decimals) != abs(_fraction(step))
    ):
        raise RefusedError(
            "unsupported",
            path_of(place),
            f"a grammar cannot hold the step {_short(step)}: without its decimal point it must be at most "
            f"{_LARGEST_STEP}, without trailing zeros at most {_LARGEST_SHORT_STEP}, and exact in binary arithmetic",
            "Use a step of fewer digits, or an integer that counts the steps.",
        )


def _check_values(schema: Schema, pointer: Pointer) -> None:
    """Refuse the numbers in ``const`` and ``enum`` that llguidance reads as another number."""
    found: list[tuple[_Number, Pointer]] = []
    for keyword in ("const", "enum"):
        if keyword in schema:
            found += [
                (number, place)
                for number, place in _numbers(schema[keyword], (*pointer, keyword))
                if isinstance(number, float) or abs(number) > _EXACT
            ]
    if not found:
        return
    allows = _allowed_by({"enum": [number for number, _ in found if abs(number) <= _LARGEST_DOUBLE]})
    for number, place in found:
        if not any(json.loads(text) == number and allows(text) for text in _spellings(number)):
            raise RefusedError(
                "unsupported",
                path_of(place),
                f"llguidance reads the number {_short(number)} as another one: it is exact to about 15 digits",
                "Write it as a string, or with fewer digits.",
            )


def _numbers(value: Any, pointer: Pointer) -> Iterator[tuple[_Number, Pointer]]:
    waiting: list[tuple[Any, Pointer]] = [(value, pointer)]
    while waiting:
        each, place = waiting.pop()
        if _is_number(each):
            yield each, place
        elif isinstance(each, list):
            waiting += [(item, (*place, i)) for i, item in enumerate(cast("list[Any]", each))]
        elif isinstance(each, dict):
            waiting += [(item, (*place, name)) for name, item in cast("Schema", each).items()]


def _allowed_by(schema: Schema) -> Callable[[str], bool]:
    built = build(answer_grammar(encoded(schema, OPTIONS)))

    def allows(text: str) -> bool:
        if not isinstance(built, Built):
            return False
        matcher: LLMatcher = built.matcher.deep_copy()
        data = list(text.encode())
        return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()

    return allows


def _spellings(number: _Number) -> Iterator[str]:
    if abs(number) > _LARGEST_DOUBLE:
        return
    yield format(Decimal(repr(number)), "f")
    if number == int(number):
        yield "-0" if number == 0 and math.copysign(1, number) < 0 else str(int(number))


def _shorten(document: Any) -> None:
    """Replace in place the numbers beyond doubles in annotations, which llguidance cannot read."""
    waiting: list[Any] = [document]
    while waiting:
        place: Any = waiting.pop()
        items: Any = enumerate(cast("list[Any]", place)) if isinstance(place, list) else cast("Schema", place).items()
        for key, value in list(items):
            if isinstance(value, list | dict):
                waiting.append(value)
            elif _is_number(value) and abs(value) > _LARGEST_DOUBLE:
                place[key] = 0


def _is_number(value: Any) -> TypeGuard[_Number]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> _Number:
    """Return a number; infinity, as JSON's 1e400 is read, as the integer 10^400."""
    if isinstance(value, float) and math.isinf(value):
        return 10**400 if value > 0 else -(10**400)
    return value


def _fraction(value: Any) -> Fraction:
    """Return the number that stands in the JSON text, not the nearest double."""
    return Fraction(Decimal(repr(_finite(value))))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 30 else f"{text[:8]}... ({len(text)} characters)"
