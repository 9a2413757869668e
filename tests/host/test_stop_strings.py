"""Stop strings end the answer, not the reasoning: for any split of the text, and through the host on a fake engine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import studiolo_fake_engine as fake
from hypothesis import given
from hypothesis import strategies as st

from studiolo.config import PredictionConfig, ReasoningParsing
from studiolo.domain.chat import ChatRequest, Message, Text, Tool
from studiolo.domain.generation import Fragment, LogProb, PredictionResult, TokenLogProbs, ToolCallFinished
from studiolo.domain.models import ModelReference
from studiolo.host.host import Host
from studiolo.host.reasoning import ReasoningSplitter
from studiolo.host.stop_strings import StopStrings


def stopped(pieces: Sequence[str], words: Sequence[str]) -> tuple[list[Fragment], str | None]:
    split, stops = ReasoningSplitter("<t>", "</t>"), StopStrings([(word, "stop_string") for word in words])
    out = [last for piece in pieces for part in split.feed(Fragment(piece)) for last in stops.feed(part)]
    out += [last for part in split.flush() for last in stops.feed(part)]
    return [*out, *stops.flush()], stops.found and stops.found.text


@given(st.data())
def test_the_end_does_not_depend_on_the_fragments(data: st.DataObject) -> None:
    words = data.draw(st.lists(st.text("ab ", min_size=1, max_size=3), min_size=1, max_size=3))
    answer = data.draw(st.text("ab ", max_size=12))
    text = f"<t>{data.draw(st.text('ab ', max_size=6))}</t>{answer}"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    fragments, found = stopped([piece for piece in pieces if piece], words)
    places = [(answer.find(word) + len(word), answer.find(word), word) for word in words if word in answer]
    _, at, word = min(places, default=(0, len(answer), None))
    assert "".join(fragment.text for fragment in fragments) == text[: len(text) - len(answer) + at]
    assert found == word
    assert all(fragment.text for fragment in fragments)


def test_a_stop_string_beside_a_tag() -> None:
    assert stopped(["<t>Hm</t>", "yes"], ["</t>"]) == ([Fragment("<t>", 1, reasoning="start_tag"),
        Fragment("Hm", 0, reasoning="reasoning")], "</t>")  # fmt: skip
    fragments, found = stopped(["<t>Hm</t>", "\n\nyes", " no"], ["m</t>", "</t>\n", "<", ">"])
    assert found is None and fragments[-1].text == " no"


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=8), st.integers(1, 4))
def test_log_probabilities_are_those_of_the_tokens_that_begin_in_the_answer(tokens: list[str], size: int) -> None:
    stops = StopStrings([("bca", "stop_string")])
    pieces = [tokens[at : at + size] for at in range(0, len(tokens), size)]
    fragments = [
        Fragment("".join(piece), len(piece), logprobs=[TokenLogProbs(LogProb(each, -1.0)) for each in piece])
        for piece in pieces
    ]
    out = [*(last for fragment in fragments for last in stops.feed(fragment)), *stops.flush()]
    text = "".join(fragment.text for fragment in out)
    assert text == "".join(tokens).partition("bca")[0]
    listed = [each.token.text for fragment in out for each in fragment.logprobs or ()]
    starts = [len("".join(tokens[:index])) for index in range(len(tokens))]
    assert listed == [token for token, start in zip(tokens, starts, strict=True) if start < len(text)]


class Said:
    """What a prediction on the fake engine said."""

    def __init__(self, events: Sequence[object]) -> None:
        parts = [event for event in events if isinstance(event, Fragment)]
        self.thought = "".join(part.text for part in parts if part.reasoning == "reasoning")
        self.answer = "".join(part.text for part in parts if part.reasoning == "none")
        self.calls = [event.call for event in events if isinstance(event, ToolCallFinished)]
        assert isinstance(events[-1], PredictionResult)
        self.result = events[-1]

    @property
    def end(self) -> tuple[str, str | None]:
        return self.result.stop_reason, self.result.stop_string


async def say(
    host: Host, tokens: Sequence[str], prompt: str = "hi", tools: Sequence[Tool] | None = None, **config: object
) -> Said:
    fake.models["alpha"].tokens = tokens
    chat = ChatRequest(messages=[Message("user", [Text(prompt)])], tools=tools)
    async with host.lease(ModelReference(name="alpha"), "llm") as lease:
        prediction = host.predict(lease, chat, PredictionConfig(**config))  # type: ignore[arg-type]
        try:
            return Said([event async for event in prediction.events()])
        finally:
            await prediction.close()


SCRIPT = ["<think>", "\nFirst", " END", " of", "\n\n", " plan", "</think>", "\n\n", "The answer 42", " END", " rest"]


async def test_a_stop_string_in_the_thought_does_not_end_the_answer(fake_host: Host) -> None:
    said = await say(fake_host, SCRIPT, stop_strings=["END"])
    assert (said.thought, said.answer) == ("\nFirst END of\n\n plan", "\n\nThe answer 42 ")
    assert said.end == ("stop_string", "END")
    assert fake.running("alpha")[0].active == 0, "the engine generates no further"
    said = await say(fake_host, ["<think>", "a\n\nb", "</think>", "one", "\n", "\ntwo"], stop_strings=["\n\n"])
    assert (said.thought, said.answer) == ("a\n\nb", "one")


async def test_an_endless_model_is_stopped_at_once(fake_host: Host) -> None:
    fake.models["alpha"].endless = True
    said = await say(fake_host, ["<think>", "END", "</think>", "x", "E", "ND"], stop_strings=["END"])
    assert (said.answer, said.end) == ("x", ("stop_string", "END"))
    assert said.result.usage.predicted_tokens == 6


async def test_a_thought_that_the_prompt_has_opened(fake_host: Host) -> None:
    said = await say(fake_host, ["END ", "of", "</think>", "yes END"], prompt="hi <think>", stop_strings=["END"])
    assert (said.thought, said.answer) == ("END of", "yes ")


async def test_other_tags_and_a_template_with_stop_strings(fake_host: Host) -> None:
    template = {"type": "manual", "stop_strings": ["USER:"], "manual_prompt_template": {}}
    parsing = ReasoningParsing(enabled=True, start_string="[T]", end_string="[/T]")
    said = await say(
        fake_host,
        ["[T]", "USER: asks END", "[/", "T]", "an", "swer", "USER", ": more"],
        reasoning_parsing=parsing,
        stop_strings=["END"],
        prompt_template=PredictionConfig.from_dict({"prompt_template": template}).prompt_template,
    )
    assert (said.thought, said.answer, said.end) == ("USER: asks END", "answer", ("stop_string", "USER:"))


@pytest.mark.parametrize(
    "config", [{"stop_strings_in_reasoning": True}, {"reasoning_parsing": ReasoningParsing(enabled=False)}]
)
async def test_where_stop_strings_count_everywhere(fake_host: Host, config: dict[str, object]) -> None:
    said = await say(fake_host, SCRIPT, stop_strings=["END"], **config)
    assert said.end == ("stop_string", "END") and "answer" not in said.answer + said.thought


async def test_a_completion_of_ones_own_prompt(fake_host: Host) -> None:
    fake.models["alpha"].tokens = SCRIPT
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        prediction = fake_host.predict(lease, "prompt", PredictionConfig(stop_strings=["END"]))
        said = Said([event async for event in prediction.events()])
        await prediction.close()
    assert said.end == ("stop_string", "END") and said.answer == ""


async def test_stop_strings_of_tool_calls_and_in_their_json(fake_host: Host) -> None:
    call = '[TOOL_REQUEST]{"name": "w", "arguments": {"city": "THE END"}}[END_TOOL_REQUEST]'
    tools = [Tool("w", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}})]
    said = await say(fake_host, ["Let me", " see. ", call, " END", " x"], tools=tools, stop_strings=["END"])
    assert [made.arguments for made in said.calls] == [{"city": "THE END"}]
    assert said.answer.startswith("Let me see. ") and said.end == ("stop_string", "END")
    said = await say(fake_host, ["<think>CALL</think>", "now CA", "LL", " x"], tool_call_stop_strings=["CALL"])
    assert (said.answer, said.end) == ("now ", ("tool_calls", "CALL"))
