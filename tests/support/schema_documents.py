"""Random JSON schemas out of everything that structured output supports, as Hypothesis strategies."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "ab", "a b", "naïve", "x-1", 'quo"te', "back\\slash", "", "日本"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(-1e6, 1e6).map(lambda x: round(x, 4))
    | st.text(max_size=5)
)
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "hostname", "email", "uri", "duration"]
PATTERNS = [
    r"^[a-z]{2,5}$",
    r"^\d{3}-\d{4}$",
    r"abc",
    r"^(foo|bar)+$",
    r"^[^a-z\"]$",
    r"^a.c$",
    r"\w+@\w+\.(com|org)$",
    r"^[\s\S]{0,4}$",
    r"^(?:x|y?z)*$",
    r"^$",
    r"^\\\"/$",
    r"^[A-Z]\D-\S$",  # \W is ASCII for llguidance, as for ECMAScript, and Unicode for Python
    r"^a|b$",
    r"^[^\d]{1,3}$",
    r"^ü+é?$",
]


def _without_none(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if value is not None}


def _ordered(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(st.none() | values, st.none() | values).map(
        lambda pair: _without_none(dict(zip((low, high), sorted(pair) if None not in pair else pair, strict=True)))
    )


integer_bounds = _ordered(
    "minimum", "maximum", st.integers(-3000, 3000) | st.floats(-50, 50).map(lambda x: round(x, 2))
)
wide_bounds = _ordered("exclusiveMinimum", "exclusiveMaximum", st.integers(-(10**14), 10**14))
number_bounds = _ordered("minimum", "maximum", st.floats(-1000, 1000).map(lambda x: round(x, 3)) | st.integers(-9, 9))
open_bounds = _ordered(
    "exclusiveMinimum", "exclusiveMaximum", st.floats(-10, 10).map(lambda x: round(x, 4)) | st.integers(-9, 9)
)

scalars = st.one_of(
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": "string"}, {"type": "number"}, {"type": "integer"}]
    ),
    st.builds(lambda bounds: {"type": "integer", **bounds}, integer_bounds | wide_bounds),
    st.builds(lambda bounds: {"type": "number", **bounds}, number_bounds | open_bounds),
    st.builds(lambda bounds: {"type": "string", **bounds}, _ordered("minLength", "maxLength", st.integers(0, 12))),
    st.sampled_from(PATTERNS).map(lambda pattern: {"type": "string", "pattern": pattern}),
    st.sampled_from(FORMATS).map(lambda form: {"type": "string", "format": form}),
    st.lists(SCALARS, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    SCALARS.map(lambda value: {"const": value}),
    st.sampled_from([{"type": ["string", "null"]}, {"type": ["integer", "boolean"], "minimum": 3}, {"title": "any"}]),
)


def _objects(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        properties = draw(st.dictionaries(NAMES, schemas, max_size=4))
        required = draw(st.lists(NAMES, max_size=3, unique=True)) if draw(st.booleans()) else []
        required = [name for name in required if name in properties or draw(st.booleans())]
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        others = draw(st.sampled_from(["absent", False, True, "schema"]))
        if others == "schema":
            schema["additionalProperties"] = draw(schemas)
        elif others != "absent":
            schema["additionalProperties"] = others
        if draw(st.booleans()) and not properties:
            schema.pop("properties")
        return schema

    return build()


def _arrays(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    lists = st.builds(
        lambda items, bounds: {"type": "array", "items": items, **bounds},
        schemas,
        _ordered("minItems", "maxItems", st.integers(0, 4)),
    )
    tuples = st.builds(
        lambda items, rest: {"type": "array", "prefixItems": items, **rest},
        st.lists(schemas, min_size=1, max_size=3),
        st.sampled_from([{}, {"items": False}, {"minItems": 2}, {"maxItems": 1}, {"items": {"type": "null"}}]),
    )
    return lists | tuples


def _combined(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.lists(schemas, min_size=1, max_size=3).map(lambda alternatives: {"anyOf": alternatives}),
        st.lists(schemas, min_size=2, max_size=3).map(lambda alternatives: {"oneOf": alternatives}),
        st.lists(_objects(schemas), min_size=1, max_size=2).map(lambda parts: {"allOf": parts}),
        st.builds(
            lambda base, extra: {**base, "anyOf": extra},
            _objects(schemas),
            st.lists(_objects(schemas), min_size=1, max_size=2),
        ),
    )


schemas: st.SearchStrategy[dict[str, Any]] = st.recursive(
    scalars, lambda inner: _objects(inner) | _arrays(inner) | _combined(inner), max_leaves=6
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A schema, sometimes with definitions that refer to each other and to the whole."""
    definition = draw(schemas)
    schema = draw(schemas)
    if draw(st.booleans()):
        return schema
    link = {"anyOf": [{"$ref": "#/$defs/one"}, {"type": "array", "items": {"$ref": "#"}}, {"type": "null"}]}
    properties = {"own": schema, "link": link, "one": {"$ref": "#/$defs/one", "description": "a thing"}}
    return {"type": "object", "properties": properties, "$defs": {"one": definition}, "additionalProperties": False}
