"""Numbers between bounds, digit by digit."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from .gbnf import literal, union

FREE_DIGITS = 15
"""The most digits of an integer without a bound: more are not exact as a double."""

FRACTION_DIGITS = 6
LARGEST_WITH_FRACTION = 10**9
"""From here on numbers have no fraction, so that a double tells them from their bound."""


def integers(least: int | None, most: int | None) -> str | None:
    """An integer of a range, bounds included; ``None`` where the range is empty."""
    if least is not None and most is not None and least > most:
        return None
    parts: list[str] = []
    if least is None or least < 0:
        low = 1 if most is None or most >= 0 else -most
        parts.append(f'"-" {_magnitudes(low, None if least is None else -least)}')
    if most is None or most >= 0:
        parts.append(_magnitudes(max(least or 0, 0), most))
    return union(parts)


def _magnitudes(low: int, high: int | None) -> str:
    """Integers without a sign."""
    end = 10 ** max(FREE_DIGITS, len(str(low)) + 1) - 1 if high is None else high
    parts: list[str] = []
    if low == 0:
        parts.append('"0"')
        low = 1
    while low <= end:
        top = min(end, 10 ** len(str(low)) - 1)
        parts.append(_same_length(str(low), str(top)))
        low = top + 1
    return union(parts)


def _same_length(low: str, high: str) -> str:
    """Strings of digits of one length, from ``low`` to ``high``."""
    if low == high:
        return literal(low)
    if set(low[1:]) <= {"0"} and set(high[1:]) <= {"9"}:
        rest = len(low) - 1
        return _digit(low[0], high[0]) + (f" [0-9]{{{rest}}}" if rest else "")
    if low[0] == high[0]:
        return f"{literal(low[0])} {_same_length(low[1:], high[1:])}"
    nines, zeros = "9" * (len(low) - 1), "0" * (len(low) - 1)
    first, last = int(low[0]), int(high[0])
    parts: list[str] = []
    if low[1:] != zeros:
        parts.append(f"{literal(low[0])} {_same_length(low[1:], nines)}")
        first += 1
    tail: list[str] = []
    if high[1:] != nines:
        tail.append(f"{literal(high[0])} {_same_length(zeros, high[1:])}")
        last -= 1
    if first <= last:
        parts.append(f"{_digit(str(first), str(last))} [0-9]{{{len(low) - 1}}}")
    return union([*parts, *tail])


def _digit(low: str, high: str) -> str:
    return f"[{low}]" if low == high else f"[{low}-{high}]"


def decimals(
    least: Decimal | None, most: Decimal | None, least_excluded: bool = False, most_excluded: bool = False
) -> str | None:
    """A number of a range; ``None`` where the range is empty."""
    one_at_most = least is not None and least == most
    if (least is not None and most is not None and least > most) or (one_at_most and (least_excluded or most_excluded)):
        return None
    parts: list[str] = []
    if least is None or least < 0:
        if most is not None and most < 0:
            low, low_excluded = -most, most_excluded
        else:
            low, low_excluded = Decimal(0), True
        high = None if least is None else -least
        if (magnitudes := _decimal_magnitudes(low, high, low_excluded, least_excluded)) is not None:
            parts.append(f'"-" {magnitudes}')
    if most is None or most >= 0:
        low, low_excluded = (least, least_excluded) if least is not None and least >= 0 else (Decimal(0), False)
        if (magnitudes := _decimal_magnitudes(low, most, low_excluded, most_excluded)) is not None:
            parts.append(magnitudes)
    return union(parts) if parts else None


def _decimal_magnitudes(low: Decimal, high: Decimal | None, low_excluded: bool, high_excluded: bool) -> str | None:
    """Numbers without a sign."""
    largest = high if high is not None else low
    if largest >= LARGEST_WITH_FRACTION:
        first = int(low.to_integral_value(ROUND_CEILING))
        first += low_excluded and first == low
        last = None if high is None else int(high.to_integral_value(ROUND_FLOOR))
        if high is not None and last is not None:
            last -= high_excluded and last == high
        return _magnitudes(first, last) if last is None or first <= last else None
    floor = int(low)
    low_fraction = _fraction_digits(low - floor)
    any_fraction = f'( "." [0-9]{{1,{FRACTION_DIGITS}}} )?'
    parts: list[str] = []
    if high is None:
        at_floor = _fractions(low_fraction, None, low_excluded, False)
        parts += [f"{literal(str(floor))} {at_floor}"] if at_floor else []
        parts.append(f"{_magnitudes(floor + 1, None)} {any_fraction}")
        return union(f"( {part} )" for part in parts)
    top = int(high)
    high_fraction = _fraction_digits(high - top)
    if floor == top:
        at_floor = _fractions(low_fraction, high_fraction, low_excluded, high_excluded)
        return f"( {literal(str(floor))} {at_floor} )" if at_floor else None
    at_floor = _fractions(low_fraction, None, low_excluded, False)
    if at_floor:
        parts.append(f"{literal(str(floor))} {at_floor}")
    if floor + 1 <= top - 1:
        parts.append(f"{_magnitudes(floor + 1, top - 1)} {any_fraction}")
    at_top = _fractions("", high_fraction, False, high_excluded)
    if at_top:
        parts.append(f"{literal(str(top))} {at_top}")
    return union(f"( {part} )" for part in parts) if parts else None


def _fraction_digits(fraction: Decimal) -> str:
    """The digits after the point, without zeros at the end."""
    return format(fraction.normalize(), "f").partition(".")[2]


def _fractions(low: str, high: str | None, low_excluded: bool, high_excluded: bool) -> str | None:
    """A fraction with its point, or nothing for 0: from ``low`` to ``high``, ``None`` for anything below 1."""
    parts: list[str] = []
    for width in range(1, min(max(len(low), len(high or "")) + 2, 14) + 1):
        first = int(low[:width] or "0") + 1 if len(low) > width else int(low.ljust(width, "0")) + low_excluded
        if high is None:
            last = 10**width - 1
        elif len(high) > width:
            last = int(high[:width] or "0")
        else:
            last = int(high.ljust(width, "0")) - high_excluded
        if first <= last:
            parts.append(f'"." {_same_length(str(first).zfill(width), str(last).zfill(width))}')
    zero_fits = low == "" and not low_excluded and not (high == "" and high_excluded)
    if not parts:
        return '""' if zero_fits else None
    return f"( {' | '.join(parts)} ){'?' if zero_fits else ''}"
