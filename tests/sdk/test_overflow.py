"""Context overflow policies on the real engine. The host applies them, so that one place shows all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import studiolo as lm

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

CONTEXT = 256
COUNT = "1 2 3 4 5 6 7"
NEARLY_FULL = "1 2 3 4 5 6 7 8 9 " * 12
"""Takes most of the context, which the answer then fills."""
ENDLESS = {"temperature": 0, "repeat_penalty": False}
LONG = "The secret word is plum. " + "Nothing of note happened on that day. " * 80 + "The secret number is 4711."
POLICIES = ["stopAtLimit", "truncateMiddle", "rollingWindow"]


@pytest.fixture(scope="module")
def small(place: tuple[str, int]) -> Iterator[lm.LLM]:
    with lm.Client(place[0]) as client:
        yield client.llm.load_new_instance("smollm2-135m-instruct", config={"context_length": CONTEXT})


def test_a_full_context_ends_the_answer_or_is_passed(small: lm.LLM) -> None:
    stopped = small.complete(NEARLY_FULL, config={**ENDLESS, "context_overflow_policy": "stopAtLimit"}).stats
    assert stopped.stop_reason == "contextLengthReached"
    assert stopped.total_tokens_count == CONTEXT
    by_default = small.complete(NEARLY_FULL, config=ENDLESS).stats
    assert (by_default.stop_reason, by_default.total_tokens_count) == ("contextLengthReached", CONTEXT)
    for policy in ("truncateMiddle", "rollingWindow"):
        config = {**ENDLESS, "contextOverflowPolicy": policy, "max_tokens": CONTEXT // 2}
        result = small.complete(NEARLY_FULL, config=config)
        assert result.stats.stop_reason == "maxPredictedTokensReached"
        assert result.stats.predicted_tokens_count == CONTEXT // 2
        assert result.stats.total_tokens_count > CONTEXT
        assert result.prediction_config.context_overflow_policy == policy


def test_an_answer_that_stays_within_the_context_is_the_same_under_every_policy(small: lm.LLM) -> None:
    texts = {
        small.complete(COUNT, config={**ENDLESS, "context_overflow_policy": policy, "max_tokens": 40}).content
        for policy in POLICIES
    }
    assert len(texts) == 1


def test_a_prompt_that_is_too_long_is_refused_by_default(small: lm.LLM) -> None:
    for config in ({}, {"context_overflow_policy": "stopAtLimit"}):
        with pytest.raises(lm.PromptTooLongError, match=str(CONTEXT)):
            small.complete(LONG, config=config)


@pytest.mark.parametrize("policy", ["truncateMiddle", "rollingWindow"])
def test_a_prompt_that_is_too_long_is_cut(small: lm.LLM, policy: str) -> None:
    result = small.complete(LONG, config={**ENDLESS, "context_overflow_policy": policy, "max_tokens": 8})
    assert result.stats.prompt_tokens_count == CONTEXT - 8
    tokens = small.tokenize(LONG)
    room = CONTEXT - 8
    kept = tokens[: room // 2] + tokens[-(room - room // 2) :] if policy == "truncateMiddle" else tokens[-room:]
    assert len(kept) == room
    # The same text, given by hand, continues in the same way.
    by_hand = _text_of(small, LONG, policy, room)
    assert small.count_tokens(by_hand) == room
    assert small.complete(by_hand, config={**ENDLESS, "max_tokens": 8}).content == result.content


def _text_of(llm: lm.LLM, text: str, policy: str, room: int) -> str:
    """What is left of ``text``, whose words are one token each here."""

    def longest(pieces: list[str], count: int) -> str:
        for piece in pieces:
            if llm.count_tokens(piece) == count:
                return piece
        raise AssertionError("no cut of the text has that many tokens")

    if policy == "rollingWindow":
        return longest([text[i:] for i in range(len(text) - 1400, len(text)) if text[i] in " .T"], room)
    head = longest([text[:i] for i in range(room * 2, room * 4) if i == len(text) or text[i] in " ."], room // 2)
    tail = longest([text[i:] for i in range(len(text) - 800, len(text)) if text[i] in " ."], room - room // 2)
    return head + tail


def test_a_cut_prompt_leaves_room_for_the_answer(small: lm.LLM) -> None:
    config = {**ENDLESS, "context_overflow_policy": "truncateMiddle", "max_tokens": CONTEXT + 9}
    result = small.complete(LONG, config=config)
    assert result.stats.prompt_tokens_count == CONTEXT - CONTEXT // 4
    assert result.stats.predicted_tokens_count == CONTEXT + 9


def _chat() -> lm.Chat:
    chat = lm.Chat("Be terse.")
    for number in range(14):
        chat.add_user_message(f"Message {number}: " + "word " * 12)
        chat.add_assistant_response("Fine.")
    chat.add_user_message("What is the last word?")
    return chat


@pytest.mark.parametrize("policy", ["truncateMiddle", "rollingWindow"])
def test_a_chat_that_is_too_long_loses_whole_messages(small: lm.LLM, policy: str) -> None:
    chat = _chat()
    with pytest.raises(lm.PromptTooLongError):
        small.respond(chat, config={"max_tokens": 5})
    config = {"max_tokens": 5, "temperature": 0, "context_overflow_policy": policy}
    result = small.respond(chat, config=config)
    reported = result.stats.prompt_tokens_count
    assert reported is not None and reported <= CONTEXT - 5
    # What is left is the chat without some of its messages, and no other text.
    lengths: set[int] = set()
    messages = chat.history_data().messages
    for gone in range(len(messages)):
        first = 2 if policy == "truncateMiddle" else 1
        left = {"messages": [*messages[:first], *messages[first + gone :]]}
        lengths.add(small.count_tokens(small.apply_prompt_template(lm.Chat.from_history(left))))
    assert reported in lengths
    assert reported > CONTEXT // 2
