"""What of a prediction is an answer: calls of tools that were cut off, and text that never was a call."""

from __future__ import annotations

import pytest

from studiolo.dialects.http.gathered import AnswerText, Gathered
from studiolo.domain.generation import (
    Fragment,
    PredictionResult,
    StopReason,
    ToolCallFailed,
    ToolCallNamed,
    ToolCallStarted,
)
from studiolo.errors import PredictionError

FAILED = ToolCallFailed(PredictionError("no call"), '{"name": "we')


@pytest.mark.parametrize(
    ("reason", "text"), [("max_tokens", ""), ("context_full", ""), ("time_limit", ""), ("end_of_text", '{"name": "we')]
)
def test_a_call_that_is_cut_within_its_name_is_no_text(reason: StopReason, text: str) -> None:
    answer = Gathered()
    assert answer.add(ToolCallStarted()) == answer.add(FAILED) == []
    assert answer.add(PredictionResult(stop_reason=reason)) == ([AnswerText(text, ())] if text else [])
    assert answer.text == text


def test_what_never_was_a_call_is_text_in_its_place() -> None:
    answer = Gathered()
    said = [piece for event in (FAILED, FAILED, Fragment(" and")) for piece in answer.add(event)]
    answer.add(ToolCallStarted())
    answer.add(ToolCallNamed("weather"))
    assert len(answer.add(FAILED)) == 1  # the end of the call
    answer.add(PredictionResult(stop_reason="max_tokens"))
    assert said == [AnswerText('{"name": "we{"name": "we', ()), AnswerText(" and", ())]
    assert answer.text == '{"name": "we{"name": "we and'
