"""Random JSON values of a type that msgspec decodes, and values that are almost of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
any_json: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


def values_of(kind: Any, words: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    """Return a strategy for JSON values that decode as ``kind``.

    Parameters:
        kind: a type for msgspec; ``None`` for an endpoint without a parameter.
        words: texts that mean something to the program under test, such as names of models.
    """
    if kind is None:
        return st.none() | any_json
    return _Builder(words).of(inspect.type_info(kind))


def almost(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for values of ``values``, most of which have parts removed, replaced or added."""

    @st.composite
    def changed(draw: st.DrawFn) -> Any:
        value = json.loads(json.dumps(draw(values)))
        for _ in range(draw(st.integers(0, 3))):
            value = _change(draw, value)
        return value

    return changed()


def _change(draw: st.DrawFn, value: Any, depth: int = 0) -> Any:
    inside = depth < 8 and draw(st.booleans())
    if isinstance(value, dict) and value and inside:
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _change(draw, value[key], depth + 1)}
    if isinstance(value, list) and value and inside:
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _change(draw, value[place], depth + 1), *value[place + 1 :]]
    if isinstance(value, dict) and value and draw(st.booleans()):
        gone = draw(st.sampled_from(sorted(value)))
        return {key: inner for key, inner in value.items() if key != gone}
    if isinstance(value, dict) and draw(st.booleans()):
        return {**value, draw(st.text(max_size=8)): draw(any_json)}
    return draw(any_json)


class _Builder:
    def __init__(self, words: tuple[str, ...]) -> None:
        texts = st.text(max_size=12)
        self.texts = texts | st.sampled_from(words) if words else texts
        self.structs: dict[type, st.SearchStrategy[Any]] = {}

    def of(self, info: inspect.Type) -> st.SearchStrategy[Any]:
        match info:
            case inspect.NoneType():
                return st.none()
            case inspect.BoolType():
                return st.booleans()
            case inspect.IntType(ge=least, le=most):
                return st.integers(-(2**53) if least is None else least, 2**53 if most is None else most)
            case inspect.FloatType():
                return st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 0.5, 1.0])
            case inspect.StrType():
                return self.texts
            case inspect.BytesType():
                return st.binary(max_size=40).map(lambda content: base64.b64encode(content).decode())
            case inspect.LiteralType(values=values):
                return st.sampled_from(values)
            case inspect.EnumType(cls=cls):
                return st.sampled_from([member.value for member in cls])
            case inspect.CollectionType(item_type=item):
                return st.lists(self.of(item), max_size=3)
            case inspect.TupleType(item_types=items):
                return st.tuples(*map(self.of, items)).map(list)
            case inspect.DictType(value_type=value):
                return st.dictionaries(self.texts, self.of(value), max_size=3)
            case inspect.UnionType(types=types):
                return st.one_of([self.of(each) for each in types])
            case inspect.StructType(cls=cls):
                if cls not in self.structs:
                    self.structs[cls] = st.deferred(lambda: self._struct(info))
                return self.structs[cls]
            case _:
                return any_json  # ``Any`` and ``Raw``

    def _struct(self, info: inspect.StructType) -> st.SearchStrategy[Any]:
        required = {field.encode_name: self.of(field.type) for field in info.fields if field.required}
        optional = {field.encode_name: self.of(field.type) for field in info.fields if not field.required}
        tag = {info.tag_field: st.just(info.tag)} if info.tag_field is not None else {}
        return st.fixed_dictionaries({**tag, **required}, optional=optional)


def decodes(value: Any, kind: Any) -> bool:
    """Whether a value decodes as ``kind``."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
