"""Random schemas: what their grammars generate satisfies them, or they are refused with a path."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from studiolo.engines.schemas.grammar_samples import draw
from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import RefusedError
from studiolo.engines.schemas.validation import check
from tests.support.schema_documents import documents
from tests.support.walk_grammar import matcher

pytestmark = pytest.mark.slow


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(schema=documents(), seed=st.integers(0, 2**32))
def test_what_a_random_schema_generates_satisfies_it(schema: dict[str, Any], seed: int) -> None:
    text = json.dumps(schema)
    try:
        prepared = prepare(text)
    except RefusedError as error:
        event(f"refused: {error.kind}")
        assert error.path.startswith("$") and error.why and error.hint
        return
    rng = random.Random(seed)
    for _ in range(4):
        answer = draw(matcher(prepared.grammar_json), rng)
        if answer is None:
            event("unfinished")
            continue
        event("finished")
        # llguidance takes oneOf for anyOf; whether one alternative alone holds is found in the finished answer.
        assert check(text.replace('"oneOf"', '"anyOf"'), answer) is None, answer


WORDS = (
    *("type", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "minimum"),
    *("maximum", "pattern", "format", "minLength", "maxItems", "additionalProperties", "prefixItems", "not", "$id"),
    *("multipleOf", "$defs", "$schema", "if", "patternProperties", "dependencies", "x-guidance", "$dynamicRef"),
)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_any_nonsense_is_prepared_or_refused(schema: Any) -> None:
    try:
        prepare(json.dumps(schema))
    except RefusedError as error:
        assert error.path.startswith("$")
