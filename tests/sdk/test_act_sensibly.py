"""``act()`` with the whole default model, whose calls make sense: arguments of any kind, and a call unforced."""

from __future__ import annotations

from typing import Any

import pytest

import studiolo as lm

pytestmark = pytest.mark.served

GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 45}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_a_schema_of_many_forms_holds_the_model(llm: lm.LLM) -> None:
    def plan(
        steps: list[str], size: int | None, speed: float, done: bool, options: dict[str, int], note: str = "x"
    ) -> str:
        """Make a plan."""
        given.append((steps, size, speed, done, options, note))
        return "ok"

    given: list[Any] = []
    errors: list[Any] = []
    llm.act(
        "Plan a day.",
        [plan],
        max_prediction_rounds=2,
        tool_choice="required",
        config={"temperature": 0, "max_tokens": 400},
        handle_invalid_tool_request=lambda error, _: errors.append(error),
    )
    assert len(given) == 1 and not errors


def test_a_model_that_shows_how_calls_by_itself(llm: lm.LLM) -> None:
    """With examples before it, even the smallest model calls without being forced to."""
    chat = lm.Chat()
    for number in range(5):
        chat.add_user_message(f"What is {number} plus {number + 1}?")
        request = {"type": "function", "name": "add", "id": str(number), "arguments": {"a": number, "b": number + 1}}
        chat.add_assistant_response("", [request])
        chat.add_tool_result({"type": "toolCallResult", "content": str(2 * number + 1), "toolCallId": str(number)})
        chat.add_assistant_response(f"It is {2 * number + 1}.")
    chat.add_user_message("What is 5 plus 6?")
    messages: list[Any] = []
    llm.act(chat, [add], config=GREEDY, max_prediction_rounds=2, on_message=messages.append)
    assert messages[0].content[-1].tool_call_request.arguments == {"a": 5, "b": 6}
    assert messages[1].content[0].content == "11"
