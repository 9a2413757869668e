"""Fragments that are merged while their reader lags."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from studiolo.domain.generation import Fragment, LogProb, TokenLogProbs, merge_fragments

LOGPROBS = st.builds(TokenLogProbs, st.builds(LogProb, st.text(max_size=3), st.floats(-9, 0), st.integers(0, 99)))
FRAGMENTS = st.builds(
    Fragment,
    st.text(max_size=5),
    st.integers(0, 3),
    drafted=st.booleans(),
    logprobs=st.none() | st.lists(LOGPROBS, max_size=3),
)


@given(st.lists(FRAGMENTS, min_size=1, max_size=6))
def test_merging_loses_neither_text_nor_tokens_nor_log_probabilities(fragments: list[Fragment]) -> None:
    def merge(last: Fragment, new: Fragment) -> Fragment:
        merged = merge_fragments(last, new)
        assert merged is not None
        return merged

    whole = reduce(merge, fragments)
    assert whole.text == "".join(each.text for each in fragments)
    assert whole.tokens == sum(each.tokens for each in fragments)
    assert whole.drafted == any(each.drafted for each in fragments)
    assert list(whole.logprobs or ()) == [entry for each in fragments for entry in each.logprobs or ()]


def test_fragments_of_different_kinds_stay_apart() -> None:
    answer = Fragment("a")
    assert merge_fragments(answer, Fragment("b", reasoning="reasoning")) is None
    assert merge_fragments(answer, Fragment("b", structural=True)) is None
