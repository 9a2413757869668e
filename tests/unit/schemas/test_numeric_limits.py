"""Numbers in schemas that llguidance cannot hold: a wider grammar, validated exactly, or an error with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import RefusedError
from studiolo.engines.schemas.validation import check
from tests.support import walk_grammar

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
HUGE = 10**400
"""A number beyond doubles."""


def allows(schema: Any, value: Any) -> bool:
    """Whether the grammar of a schema has a value, or the JSON text of one."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return walk_grammar.allows(prepare(json.dumps(schema)).grammar_json, text)


def number(**bounds: Any) -> dict[str, Any]:
    return {"type": "number", **bounds}


def integer(**bounds: Any) -> dict[str, Any]:
    return {"type": "integer", **bounds}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        # bounds that no answer reaches have no grammar, and are validated
        (integer(minimum=-HUGE, maximum=HUGE), ["5", "-5"], []),
        (number(minimum=-1e300, maximum=1e300), ["5.5", "-5"], ["1e301"]),
        (number(maximum=10**30), ["5", "999999999999999999999"], ["1e31"]),
        (number(exclusiveMinimum=-(2**63)), ["-9200000000000000000.5", "0"], ["-1e19"]),
        ({"type": ["integer", "null"], "maximum": 2**64}, ["18446744073709551616", "null"], ["18446744073709551617"]),
        ({"type": ["integer", "null"], "minimum": 2**62}, ["4611686018427387904", "null"], ["4611686018427387903"]),
        ({"maximum": 2**70}, ["1", '"a"'], ["1180591620717411303425"]),
        ({"$schema": DRAFT_4, **number(minimum=-1e200, exclusiveMinimum=True)}, ["0"], ["-1e201"]),
        # far from zero, the grammar has the number of digits
        (number(minimum=1e18), ["1000000000000000000"], ["5", "999999999999999999"]),
        (number(maximum=-1e19), ["-10000000000000000000"], ["-5", "-9999999999999999000"]),
        (integer(maximum=-(2**63)), ["-9223372036854775808"], ["5", "-5", "-9223372036854775807"]),
        (number(minimum=2e18, maximum=3e18), ["2500000000000000000"], ["5", "4000000000000000000"]),
        ({"$schema": DRAFT_4, **number(minimum=2**63, exclusiveMinimum=True)}, ["9223372036854775810"], ["7"]),
        # close to zero
        (number(minimum=1e-320), ["0.5", "3"], ["0", "-1"]),
        (number(maximum=1e-320), ["0", "-3"], ["0.5", "1e-60"]),
        (number(exclusiveMinimum=-1e-300), ["0", "3"], ["-1e-299", "-1"]),
        # bounds that are no integers
        (integer(minimum=0.2, maximum=1.8), ["1"], ["0", "2"]),
        # steps
        (number(multipleOf=0.01), ["19.99", "0.3", "-0.07", "836673539274.27"], ["19.999"]),
        (number(multipleOf=3.3333), ["836673539274.2724"], ["836673539274.2725"]),
        (number(multipleOf=0.1, minimum=0.3, maximum=0.3), ["0.3"], ["0.2", "0.4"]),
        (number(multipleOf=0.1, exclusiveMinimum=0.1, maximum=0.3), ["0.2", "0.3"], ["0.1", "0.4", "0.25"]),
        ({"type": "integer", "allOf": [{"multipleOf": 5000}, {"multipleOf": 15000}]}, ["15000", "0"], ["5000"]),
        ({"type": "integer", "multipleOf": 7, "allOf": [{"multipleOf": 3}, {"multipleOf": 5}]}, ["105"], ["35", "21"]),
        # values
        ({"const": 10**20}, ["100000000000000000000"], ["100000000000000000001"]),
        ({"enum": [0.1, -0.0, 1e-7, 1.0]}, ["0.1", "0.0000001", "1"], ["0.2"]),
        # counts, and numbers that constrain nothing
        ({"type": "string", "minLength": 2.0, "maxLength": 10**30}, ['"ab"'], ['"a"']),
        ({"type": "array", "maxItems": HUGE}, ["[1,2]"], ["1"]),
        ({"type": "null", "default": HUGE, "x-most": [HUGE]}, ["null"], ["1"]),
    ],
    ids=lambda each: json.dumps(each)[:70],
)
def test_a_grammar_is_wider_and_the_validation_exact(schema: Any, right: list[str], wrong: list[str]) -> None:
    for answer in right:
        assert check(json.dumps(schema), answer) is None, answer
        assert allows(schema, answer) or answer in ("-0.07", "1e301"), answer
    for answer in wrong:
        assert check(json.dumps(schema), answer) is not None, answer


@pytest.mark.parametrize(
    ("schema", "kind", "path", "why"),
    [
        (integer(minimum=2**64 + 1), "unsupported", "$.minimum", "beyond 2^64"),
        (integer(maximum=-HUGE), "unsupported", "$.maximum", "beyond 2^64"),
        (number(exclusiveMinimum=1e300), "unsupported", "$.exclusiveMinimum", "1e+300"),
        ({"items": number(exclusiveMaximum=-1e300)}, "unsupported", "$.items.exclusiveMaximum", "beyond 2^64"),
        (integer(multipleOf=65537), "unsupported", "$.multipleOf", "65537"),
        (number(multipleOf=0.07), "unsupported", "$.multipleOf", "0.07"),
        (number(multipleOf=1e-300), "unsupported", "$.multipleOf", "1e-300"),
        (integer(multipleOf=HUGE), "unsupported", "$.multipleOf", "401 characters"),
        (
            {"type": "integer", "allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]},
            "unsupported",
            "$.allOf[1].multipleOf",
            "99400891",
        ),
        ({"const": 2**53 + 1}, "unsupported", "$.const", "9007199254740993"),
        ({"enum": ["a", {"b": [2**63]}]}, "unsupported", "$.enum[1].b[0]", "9223372036854775808"),
        ({"enum": [HUGE, 0.5]}, "unsupported", "$.enum[0]", "401 characters"),
        ({"const": 1e300}, "unsupported", "$.const", "1e+300"),
        ({"type": "string", "minLength": 10**7}, "unsupported", "$.minLength", "1000000"),
        ({"type": "array", "minItems": 10**5}, "unsupported", "$.minItems", "10000"),
        ({"type": "object", "minProperties": HUGE}, "unsupported", "$.minProperties", "10000"),
        (integer(minimum=0.2, maximum=0.8), "unsatisfiable", "$.minimum", "no integer satisfies minimum 0.2"),
        (integer(exclusiveMinimum=1, exclusiveMaximum=2), "unsatisfiable", "$.exclusiveMinimum", "exclusiveMaximum 2"),
        (integer(minimum=2**53 + 1, maximum=2**53), "unsatisfiable", "$.minimum", "9007199254740993"),
        (number(minimum=2**53 + 1, maximum=2**53), "unsatisfiable", "$.minimum", "no number"),
        (number(minimum=2**60 + 1, exclusiveMaximum=2**60 + 1), "unsatisfiable", "$.minimum", "no number"),
        ({"allOf": [{"type": "integer"}, {"minimum": 0.2, "maximum": 0.8}]}, "unsatisfiable", "$.allOf", "no integer"),
        ({"type": "string", "minLength": 3, "pattern": "^.$"}, "unsatisfiable", "$.pattern", "no string"),
        ({"type": "object", "minProperties": 3, "maxProperties": 1}, "unsatisfiable", "$.minProperties", "min"),
    ],
    ids=lambda each: json.dumps(each)[:60],
)
def test_a_number_that_no_grammar_can_hold_is_refused_by_its_path(schema: Any, kind: str, path: str, why: str) -> None:
    with pytest.raises(RefusedError) as caught:
        prepare(json.dumps(schema))
    assert (caught.value.kind, caught.value.path) == (kind, path), caught.value.why
    assert why in caught.value.why and caught.value.hint and len(caught.value.why) < 300


def test_bounds_that_nothing_satisfies_close_an_alternative_alone() -> None:
    schema = {"anyOf": [integer(minimum=0.2, maximum=0.8), {"type": "null"}]}
    assert allows(schema, None) and not allows(schema, 1)
    optional = {"type": "object", "properties": {"a": number(minimum=3, maximum=2)}}
    assert allows(optional, {}) and not allows(optional, {"a": 2})


@pytest.mark.parametrize(
    ("low", "high"),
    [(-(2**53) + 1, 2**53 - 1), (-(2**63), 2**63 - 1), (0, 2**64 - 1), (2**63 - 5, 2**63 - 1), (2**64 - 3, 2**64 - 1)],
)
def test_integer_bounds_up_to_64_bits(low: int, high: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    assert allows(schema, low) and allows(schema, high)
    for outside in (low - 1, high + 1):
        assert not allows(schema, outside) or check(json.dumps(schema), str(outside)) is not None
    exclusive = {"type": "integer", "exclusiveMinimum": low - 1, "exclusiveMaximum": high + 1}
    assert allows(exclusive, low) and allows(exclusive, high)
    if high < 2**53:
        assert not allows(schema, low - 1) and not allows(exclusive, high + 1)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 2**63 - 1),
        (-(2**53) - 2, 2**53 + 2),
        (2**62, 2**62 + 1024),
        (-(2**62) - 1024, -(2**62)),
        (-(2**63) + 1024, 2**60 + 256),
    ],
)
def test_integer_bounds_that_doubles_hold_are_exact_during_generation(low: int, high: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    assert allows(schema, low) and allows(schema, high)
    assert not allows(schema, low - 1) and not allows(schema, high + 1)


@pytest.mark.parametrize("bound", [2**53 + 3, 10**18, 2**62 + 1, 2**63 - 1, 2**63, 2**64])
def test_a_large_bound_without_another_is_validated_exactly(bound: int) -> None:
    for keyword, sign in (("minimum", 1), ("maximum", -1)):
        schema = {"type": "integer", keyword: sign * bound}
        for inside in (sign * bound, sign * bound * 100):
            assert allows(schema, inside) and check(json.dumps(schema), str(inside)) is None
        assert not allows(schema, sign * 5)
        assert check(json.dumps(schema), str(sign * (bound - 1))) is not None


def test_large_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(RefusedError):
        prepare(json.dumps({"type": "integer", "minimum": 2**60, "maximum": 2**59}))
