"""Texts that are almost JSON, or JSON that is hard to bear: for tests of what reads it."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from hypothesis import strategies as st

from tests.support.typed_values import almost, values_of

ODD = [
    *(b"9" * 30, b"-1e-999", b"1.0", b"null", b'""', b"[]", b"{}", b"true", b'"\\u0000"', b'"' + b"x" * 20_000 + b'"'),
    *(b"[" * depth + b"]" * depth for depth in (100, 400, 900)),
    *(b'{"a":' * depth + b"{}" + b"}" * depth for depth in (100, 400, 900)),
]
"""Values of JSON that stand in the place of others."""

BROKEN = [
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"\0", b"\xff", b"\xef\xbb\xbf", b"<html>", b"", b'"\\ud800"'),
    *(b'"\xed\xa0\x80"', b"[" * 2000 + b"]" * 2000, b'{"a":' * 5000),
]
"""What is no JSON, or too much of it."""

_VALUES = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"(?:[^"\\]|\\.)*"(?!\s*:)|true|false|null|\{\}|\[\]')
_KEYS = re.compile(rb'"(?:[^"\\]|\\.)*"\s*:')


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return ``whole`` with one part replaced, left out, or there twice."""
    values, keys = list(_VALUES.finditer(whole)), list(_KEYS.finditer(whole))
    hard = st.sampled_from(ODD) | st.sampled_from(ODD) | st.sampled_from(BROKEN) | st.binary(max_size=8)
    how = draw(st.sampled_from(["value"] * 4 + ["twice", "part", "cut"]))
    if how == "value" and values:
        begin, end = draw(st.sampled_from(values)).span()
        return whole[:begin] + draw(hard) + whole[end:]
    if how == "twice" and keys:
        key = draw(st.sampled_from(keys))
        return whole[: key.start()] + key[0] + draw(hard) + b"," + whole[key.start() :]
    begin = draw(st.integers(0, len(whole)))
    if how == "cut":
        return whole[:begin]
    return whole[:begin] + draw(hard) + whole[draw(st.integers(begin, min(begin + 8, len(whole)))) :]


@functools.cache
def texts_of(kind: Any, words: tuple[str, ...] = ()) -> st.SearchStrategy[bytes]:
    """Return a strategy for texts that are JSON of a type, or almost.

    Parameters:
        words: texts that mean something to the program under test.
    """
    plain = almost(values_of(kind, words)).map(lambda value: json.dumps(value).encode())
    return plain | plain.flatmap(spoilt)
