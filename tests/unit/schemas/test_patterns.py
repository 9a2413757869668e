"""Regular expressions: read as the standard does, or refused with what to write instead."""

from __future__ import annotations

import json
import re

import pytest

from studiolo.engines.schemas.patterns import _FEATURES
from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import RefusedError
from studiolo.engines.schemas.validation import check
from tests.support import walk_grammar


def allows(pattern: str, text: str) -> bool:
    schema = json.dumps({"type": "string", "pattern": pattern})
    return walk_grammar.allows(prepare(schema).grammar_json, json.dumps(text))


@pytest.mark.parametrize(
    ("pattern", "feature", "hint"),
    [
        (r"(?<=a)b", "look-behind", "'(?<=a)b' as 'ab'"),
        (r"(?<!a)b", "look-behind", "as '(^|[^a])b'"),
        (r"a(?=b)", "look-ahead", "'a(?=b)' as 'ab'"),
        (r"a(?!b)", "look-ahead", "'a(?!b)' as 'a([^b]|$)'"),
        (r"^([ab])\1$", "a backreference", "'^(aa|bb)$'"),
        (r"(?P<x>a)(?P=x)", "a backreference", "use enum"),
        (r"(?<x>a)\k<x>", "a backreference", "use enum"),
        (r"\bword\b", "a word boundary", "($|[^0-9A-Za-z_])"),
        (r"\Bx", "a word boundary", "Write the characters"),
        (r"(?>a)b", "an atomic group", "'(?:a+)b'"),
        (r"(a)?(?(1)b|c)", "a condition", "as alternatives"),
        (r"a^b", "an anchor inside", "only at the beginning"),
        (r"a$b", "an anchor inside", "only at the end"),
        (r"[(?=]\cA", "regular expression", "ECMAScript, Rust and Python"),
        (r"[\b]", "regular expression", "ECMAScript, Rust and Python"),
        (r"\ud83d\ude00", "regular expression", "ECMAScript, Rust and Python"),
    ],
)
def test_what_no_grammar_holds_is_refused_with_what_to_write(pattern: str, feature: str, hint: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    with pytest.raises(RefusedError) as caught:
        prepare(json.dumps(schema))
    assert (caught.value.kind, caught.value.path) == ("unsupported", "$.properties.a.pattern")
    assert feature in caught.value.why and "llguidance" not in caught.value.why and hint in caught.value.hint


def test_what_is_suggested_is_accepted() -> None:
    suggested = [each for *_, hint in _FEATURES for each in re.findall(r"as '([^']+)'", hint)]
    assert len(suggested) >= 6
    for pattern in (*suggested, "^(aa|bb)$", "^(?=.*[0-9])[a-z0-9]+$"):
        schema = json.dumps({"type": "string", "pattern": pattern})
        assert prepare(schema).grammar_json
    assert allows(suggested[0], "ab") and not allows(suggested[0], "b")
    assert allows(r"(^|[^0-9A-Za-z_])word($|[^0-9A-Za-z_])", "a word!")


@pytest.mark.parametrize("pattern", [r"^(?!b)", r"^(?:(?!x).)*$", r"^(?!.*foo)[a-z ]+$", r"^(?![0-9])[A-Za-z0-9]+$"])
def test_a_pattern_that_most_texts_match_is_left_to_the_validation(pattern: str) -> None:
    assert allows(pattern, "az")
    wrong = {"^(?!b)": "b", "^(?:(?!x).)*$": "x", "^(?!.*foo)[a-z ]+$": "a foo"}.get(pattern, "1a")
    assert check(json.dumps({"pattern": pattern}), json.dumps(wrong)) is not None


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"^[a&&b]$", ["a", "&", "b"], ["c"]),
        (r"^[[:alpha:]]$", ["a]", "[]", ":]"], ["z", "b]"]),
        (r"^[a~~b]$", ["a", "~"], ["c"]),
        (r"^[\[&]\[$", ["[[", "&["], ["a["]),
    ],
)
def test_characters_of_classes_mean_themselves(pattern: str, right: list[str], wrong: list[str]) -> None:
    for text in right:
        assert allows(pattern, text) and check(json.dumps({"pattern": pattern}), json.dumps(text)) is None
    assert not any(allows(pattern, text) for text in wrong)
