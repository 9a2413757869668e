"""JSON Schema to GBNF. What is generated satisfies the schema; what cannot be held to is refused with its path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, cast

from . import formats
from .gbnf import BASE_RULES, json_literal, other_strings, repeated, union
from .numbers import decimals, integers
from .patterns import Building, pattern_rule
from .schemas import (
    MAX_NESTING,
    MAX_VISITS,
    TYPES,
    References,
    Schema,
    cannot_both_hold,
    is_annotation,
    merge,
    refused,
    same,
    type_of,
    types_of,
    without_annotations,
)

MAX_RULES = 5000
LARGEST_COUNT = 1000
"""The largest count of characters or items: llama.cpp writes each of them out, and has a limit."""

LONGEST_STRING = 100_000
CHUNK = 500
"""The characters of a string whose limit is higher than that are counted in chunks."""

_OF_OBJECTS = frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"})
_OF_ARRAYS = frozenset({"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"})
_OF_STRINGS = frozenset({"minLength", "maxLength", "pattern", "format"})
_OF_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_KEYWORDS = {
    "object": _OF_OBJECTS,
    "array": _OF_ARRAYS,
    "string": _OF_STRINGS,
    "number": _OF_NUMBERS | {"format"},
    "integer": _OF_NUMBERS | {"format"},
    "boolean": frozenset[str](),
    "null": frozenset[str](),
}
_KNOWN = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}).union(*_KEYWORDS.values())


def grammar_of(schema: Any) -> str:
    """The grammar of the texts that are JSON and satisfy ``schema``; of any JSON object for ``None`` and ``True``.

    Raises:
        UnsupportedError: the schema has something that cannot be held to; the error names its path.
    """
    if schema is None or schema is True:
        schema = {"type": "object"}
    if not isinstance(schema, dict):
        raise refused("$", "nothing satisfies it" if schema is False else "it is not an object")
    try:
        return _Compiler(cast("Schema", schema)).grammar()
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise refused("$", f"it is not a JSON Schema: {type(error).__name__}: {error}") from None


class _Compiler:
    def __init__(self, document: Schema) -> None:
        self._references = References(document)
        self._document = document
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}  # of rules, by what they say
        self._of_reference: dict[str, str] = {}
        self._open: list[str] = []  # references that have consumed nothing yet
        self._visits = 0

    def grammar(self) -> str:
        root = self._expression(self._document, "$", 0)
        rules = {"root": root, **self._rules}
        known = {**BASE_RULES, **formats.RULES}
        wanted = [" ".join(rules.values())]
        while wanted:  # the rules of the base that are used, and those that they use
            for word in wanted.pop().split():
                name = word.partition("{")[0].rstrip("*+?")
                if name in known and name not in rules:
                    rules[name] = known[name]
                    wanted.append(known[name])
        return "\n".join(f"{name} ::= {rule}" for name, rule in rules.items())

    def _rule(self, expression: str) -> str:
        """The name of a rule that says ``expression``."""
        if expression not in self._names:
            self._names[expression] = self._named(f"r{len(self._rules)}", expression)
        return self._names[expression]

    def _named(self, name: str, expression: str) -> str:
        if len(self._rules) >= MAX_RULES:
            raise refused("$", f"it needs more than {MAX_RULES} rules")
        self._rules[name] = expression
        return name

    def _expression(self, schema: Any, path: str, depth: int) -> str:
        self._visits += 1
        if depth > MAX_NESTING or self._visits > MAX_VISITS:
            raise refused(path, f"it is nested deeper than {MAX_NESTING}, or too large")
        if schema is True:
            return "value"
        if schema is False:
            raise refused(path, "nothing satisfies it")
        if not isinstance(schema, dict):
            raise refused(path, f"a schema is an object or a boolean, not {type(schema).__name__}")
        self._check_keywords(cast("Schema", schema), path)
        own = without_annotations(cast("Schema", schema))
        if own.keys() == {"$ref"}:
            return self._reference(own["$ref"], path, depth)
        match own:
            case {"allOf": [only]} if len(own) == 1:
                return self._expression(only, f"{path}.allOf[0]", depth + 1)
            case _:
                pass
        flat = self._references.flat(own, path)
        if isinstance(flat, bool):
            return self._expression(flat, path, depth)
        self._check_keywords(flat, path)
        if not flat:
            return "value"
        return self._rule(self._flat(flat, path, depth))

    def _check_keywords(self, schema: Schema, path: str) -> None:
        for keyword in schema:
            if keyword not in _KNOWN and not is_annotation(keyword):
                raise refused(f"{path}.{keyword}", f"the keyword {keyword!r} is not supported")

    def _reference(self, reference: Any, path: str, depth: int) -> str:
        target, where = self._references.target(reference, path)
        if reference in self._open:
            raise refused(path, f"the reference {reference!r} leads back to itself with nothing between")
        if reference not in self._of_reference:
            self._of_reference[reference] = name = f"ref{len(self._of_reference)}"
            self._open.append(reference)
            self._named(name, self._expression(target, where, depth + 1))
            self._open.pop()
        return self._of_reference[reference]

    def _inside(self, schema: Any, path: str, depth: int) -> str:
        """The expression of what stands within an object or an array: from here on, references may come again."""
        opened, self._open = self._open, []
        try:
            return self._expression(schema, path, depth + 1)
        finally:
            self._open = opened

    def _flat(self, schema: Schema, path: str, depth: int) -> str:
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(schema, keyword, path, depth)
        if "enum" in schema or "const" in schema:
            return self._values(schema, path)
        if (named := schema.get("type")) is not None:
            names = cast("list[Any]", named) if isinstance(named, list) else [named]
            if not names or any(name not in TYPES for name in names):
                raise refused(f"{path}.type", f"{named!r} is no type of JSON")
        else:
            # Keywords hold for values of their type alone; a value of that type is what is meant.
            names = [name for name in TYPES if name != "integer" and schema.keys() & _KEYWORDS[name] - {"format"}]
            names = names or ["string"] * ("format" in schema)
        return union(self._typed(name, schema, path, depth) for name in cast("list[str]", names))

    def _typed(self, name: str, schema: Schema, path: str, depth: int) -> str:
        match name:
            case "object":
                return self._object(schema, path, depth)
            case "array":
                return self._array(schema, path, depth)
            case "string":
                return self._string(schema, path)
            case "number" | "integer":
                return self._number(schema, path, name == "integer")
            case _:
                return name

    def _alternatives(self, schema: Schema, keyword: str, path: str, depth: int) -> str:
        rest = {key: value for key, value in schema.items() if key != keyword}
        if rest.keys() & {"anyOf", "oneOf"}:
            raise refused(path, "anyOf and oneOf at once are not supported")
        given = schema[keyword]
        if not isinstance(given, list) or not given:
            raise refused(f"{path}.{keyword}", "it must be a list of schemas")
        alternatives = cast("list[Any]", given)
        paths = [f"{path}.{keyword}[{i}]" for i in range(len(alternatives))]
        flat: list[Schema | bool] = []
        if keyword == "oneOf" or rest:
            flat = [
                merge(rest, self._references.flat(alternative, where), where)
                for alternative, where in zip(alternatives, paths, strict=True)
            ]
        if keyword == "oneOf":
            self._check_exclusive(flat, paths)
        if rest:
            alternatives = flat
        out = [
            self._expression(alternative, where, depth + 1)
            for alternative, where in zip(alternatives, paths, strict=True)
            if alternative is not False
        ]
        if not out:
            raise refused(path, "nothing satisfies it")
        return union(out)

    def _check_exclusive(self, alternatives: list[Schema | bool], paths: list[str]) -> None:
        for i, one in enumerate(alternatives):
            for j in range(i):
                if not cannot_both_hold(one, alternatives[j], self._references):
                    raise refused(paths[i], f"something may satisfy both it and {paths[j]}, of which oneOf allows one")

    def _values(self, schema: Schema, path: str) -> str:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        if not isinstance(values, list):
            raise refused(f"{path}.enum", "it must be a list of values")
        others = schema.keys() - {"enum", "const", "type"}
        if others:
            raise refused(path, f"enum or const together with {min(others)!r} is not supported")
        if "enum" in schema and "const" in schema:
            values = [value for value in cast("list[Any]", values) if same(value, schema["const"])]
        kept = [value for value in cast("list[Any]", values) if _is_of(value, types_of(schema))]
        if not kept:
            raise refused(path, "nothing satisfies it")
        for value in kept:
            if isinstance(value, float) and not math.isfinite(value):
                raise refused(path, f"{value} is no number of JSON")
        return union(json_literal(value) for value in kept)

    def _object(self, schema: Schema, path: str, depth: int) -> str:
        properties: dict[str, Any] = dict(_mapping(schema, "properties", path))
        required = _names(schema, path)
        others = schema.get("additionalProperties")
        for name in required:
            if name not in properties:
                if others is False:
                    raise refused(f"{path}.required", f"{name!r} is required and not allowed")
                properties[name] = True if others is None else others
        least, most = (_count(schema, key, path) for key in ("minProperties", "maxProperties"))
        if most is not None and others is None:
            others = None if properties else True
        free = others is not None and others is not False
        if not properties and (free or others is None):
            least = least or 0
            if least > 1:
                raise refused(f"{path}.minProperties", "more than 1 is not supported: names may come twice")
            value = "value" if others is None else self._inside(others, f"{path}.additionalProperties", depth)
            member = f'string ws ":" ws {value} ws'
            return _listed("{", "}", [], member, least, most)
        if least is not None and least > len(required):
            raise refused(f"{path}.minProperties", "it must not exceed the number of required properties")
        if most is not None and (free or most < len(properties)):
            raise refused(f"{path}.maxProperties", "it must be at least the number of properties, and those be all")
        members: list[tuple[str, bool]] = []
        for name, demand in properties.items():
            where = f"{path}.properties.{name}"
            demand = False if self._is_nothing(demand, where) else demand
            if demand is False:
                if name in required:
                    raise refused(where, "it is required, and nothing satisfies it")
                continue
            value = self._inside(demand, where, depth)
            members.append((self._rule(f'{json_literal(name)} ws ":" ws {value} ws'), name in required))
        tail = '"}"'
        if free:
            value = self._inside(others, f"{path}.additionalProperties", depth)
            other = self._rule(f'{other_strings(properties)} ws ":" ws {value} ws')
            return '"{" ws ' + self._members(members, other, tail)
        return '"{" ws ' + self._members(members, None, tail)

    def _is_nothing(self, schema: Any, path: str) -> bool:
        return schema is False or (
            isinstance(schema, dict) and "allOf" in schema and self._references.flat(schema, path) is False
        )

    def _members(self, members: list[tuple[str, bool]], other: str | None, tail: str) -> str:
        """The members of an object in their order, those that are not required left out or not, then any others."""
        after = self._rule(f'( "," ws {other} )* {tail}' if other else tail)
        first = self._rule(f'( {other} ( "," ws {other} )* )? {tail}' if other else tail)
        for member, is_required in reversed(members):
            if is_required:
                first = self._rule(f"{member} {after}")
                after = self._rule(f'"," ws {member} {after}')
            else:
                first = self._rule(f"{member} {after} | {first}")
                after = self._rule(f'( "," ws {member} )? {after}')
        return first

    def _array(self, schema: Schema, path: str, depth: int) -> str:
        prefix, rest = schema.get("prefixItems"), schema.get("items")
        prefix_path = f"{path}.prefixItems"
        if isinstance(rest, list):  # as it was until draft 2019-09
            if prefix is not None:
                raise refused(path, "prefixItems and a list of items at once are not supported")
            prefix, rest, prefix_path = cast("list[Any]", rest), schema.get("additionalItems"), f"{path}.items"
        elif "additionalItems" in schema:
            raise refused(f"{path}.additionalItems", "it has no effect without a list of items")
        if prefix is not None and not isinstance(prefix, list):
            raise refused(prefix_path, "it must be a list of schemas")
        least, most = _count(schema, "minItems", path) or 0, _count(schema, "maxItems", path)
        if schema.get("uniqueItems") and (most is None or most > 1):
            raise refused(f"{path}.uniqueItems", "that no item comes twice is not supported")
        if most is not None and least > most:
            raise refused(path, "minItems exceeds maxItems")
        given = cast("list[Any]", prefix or [])[: most if most is not None else None]
        firsts = [self._inside(item, f"{prefix_path}[{i}]", depth) for i, item in enumerate(given)]
        least = max(least - len(firsts), 0)
        if rest is False or (rest is None and firsts and not least):
            if least:
                raise refused(path, "minItems exceeds the number of items that are allowed")
            return _listed("[", "]", firsts, None, 0, 0)
        if most is not None:
            most -= len(firsts)
        item = "value" if rest is None or rest is True else self._inside(rest, f"{path}.items", depth)
        return _listed("[", "]", firsts, f"{item} ws", least, most)

    def _string(self, schema: Schema, path: str) -> str:
        least, most = _count(schema, "minLength", path), _count(schema, "maxLength", path, LONGEST_STRING)
        pattern, form = schema.get("pattern"), schema.get("format")
        bounded = least is not None or most is not None
        if form in formats.WITHOUT_FORM or form in formats.NUMERIC:
            form = None
        shortest, longest = formats.LENGTHS.get(form or "", (0, 0))
        if form is not None and (least or 0) <= shortest and (most is None or longest <= most):
            bounded = False
        if sum([pattern is not None, form is not None, bounded]) > 1:
            raise refused(path, "of pattern, format and a length, one at a time is supported")
        if pattern is not None:
            if not isinstance(pattern, str):
                raise refused(f"{path}.pattern", "it must be a string")
            inner = pattern_rule(pattern, Building(lambda why: refused(f"{path}.pattern", why), self._rule))
            return f'"\\"" {inner} "\\""'
        if form is not None:
            if form not in formats.FORMATS:
                known = ", ".join(sorted(formats.FORMATS))
                raise refused(f"{path}.format", f"the format {form!r} is not supported; there are {known}")
            return f'"\\"" {formats.FORMATS[form]} "\\""'
        if bounded:
            if most is not None and (least or 0) > most:
                raise refused(path, "minLength exceeds maxLength")
            return f'"\\"" {self._chars(least or 0, most)} "\\""'
        return "string"

    def _chars(self, least: int, most: int | None) -> str:
        if most is None or most <= LARGEST_COUNT:
            return repeated("char", least, most)
        chunk = self._rule(f"char{{{CHUNK}}}")
        rest = self._rule(repeated("char", 0, (most - least) % CHUNK) or '""')
        for _ in range((most - least) // CHUNK):
            rest = self._rule(f"char{{0,{CHUNK - 1}}} | {chunk} {rest}")
        return " ".join(part for part in (repeated("char", least, least) if least else "", rest) if part)

    def _number(self, schema: Schema, path: str, whole: bool) -> str:
        form = schema.get("format")
        if form is not None and form not in formats.NUMERIC:
            raise refused(f"{path}.format", f"the format {form!r} is not supported for a number")
        step = schema.get("multipleOf")
        if step is not None:
            if type_of(step) != "number" or step != 1:
                raise refused(f"{path}.multipleOf", "only 1 is supported")
            whole = True
        bounds = {key: _bound(schema, key, path) for key in _OF_NUMBERS - {"multipleOf"}}
        least, least_excluded = _tighter(bounds["minimum"], bounds["exclusiveMinimum"], 1)
        most, most_excluded = _tighter(bounds["maximum"], bounds["exclusiveMaximum"], -1)
        if least is None and most is None:
            return "integer" if whole else "number"
        if whole:
            low = None if least is None else int(least.to_integral_value(ROUND_CEILING))
            high = None if most is None else int(most.to_integral_value(ROUND_FLOOR))
            if low is not None and least_excluded and low == least:
                low += 1
            if high is not None and most_excluded and high == most:
                high -= 1
            expression = integers(low, high)
        else:
            expression = decimals(least, most, least_excluded, most_excluded)
        if expression is None:
            raise refused(path, "no number satisfies its bounds")
        return expression


def _listed(opening: str, closing: str, firsts: list[str], item: str | None, least: int, most: int | None) -> str:
    """Items between brackets: some fixed ones, then ``least`` to ``most`` of one kind."""
    begin = f'"{opening}" ws'
    fixed = ' "," ws '.join(f"{first} ws" for first in firsts)
    end = f'"{closing}"'
    if item is None or most == 0:
        return " ".join(part for part in (begin, fixed, end) if part)
    if firsts:
        return f'{begin} {fixed} {repeated(f""""," ws {item}""", least, most)} {end}'
    more = repeated(f'"," ws {item}', max(least - 1, 0), None if most is None else most - 1)
    some = " ".join(part for part in (item, more) if part)
    return f"{begin} {some} {end}" if least else f"{begin} ( {some} )? {end}"


def _is_of(value: Any, types: list[str]) -> bool:
    kind = type_of(value)
    if kind == "number" and "integer" in types and float(value).is_integer():
        return True
    return kind in types


def _names(schema: Schema, path: str) -> list[str]:
    value = schema.get("required", [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in cast("list[Any]", value)):
        raise refused(f"{path}.required", "it must be a list of names")
    return cast("list[str]", value)


def _mapping(schema: Schema, key: str, path: str) -> Mapping[str, Any]:
    value = schema.get(key, {})
    if not isinstance(value, Mapping):
        raise refused(f"{path}.{key}", "it must be an object")
    return cast("Mapping[str, Any]", value)


def _count(schema: Schema, key: str, path: str, largest: int = LARGEST_COUNT) -> int | None:
    value = schema.get(key)
    if value is None:
        return None
    if type_of(value) != "number" or value < 0 or int(value) != value:
        raise refused(f"{path}.{key}", "it must be a whole number from 0")
    if value > largest:
        raise refused(f"{path}.{key}", f"counts above {largest} are not supported")
    return int(value)


def _bound(schema: Schema, key: str, path: str) -> Decimal | None:
    value = schema.get(key)
    if value is None:
        return None
    if type_of(value) != "number" or not math.isfinite(value) or abs(value) > 1e15:
        raise refused(f"{path}.{key}", "it must be a number of at most 15 digits")
    bound = Decimal(str(value))
    if -cast("int", bound.normalize().as_tuple().exponent) > 12:
        raise refused(f"{path}.{key}", "more than 12 digits after the point are not supported")
    return bound


def _tighter(included: Decimal | None, excluded: Decimal | None, sign: int) -> tuple[Decimal | None, bool]:
    """The tighter of two bounds, and whether it is excluded."""
    if excluded is None or (included is not None and sign * included > sign * excluded):
        return included, False
    return excluded, True
