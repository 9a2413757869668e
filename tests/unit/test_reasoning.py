"""Reasoning is separated from the answer, for any split of the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studiolo.config import PredictionConfig, ReasoningParsing
from studiolo.domain.generation import Fragment
from studiolo.engines.prompt import Prompt
from studiolo.host.reasoning import ReasoningSplitter, with_thought_closed

TAGS = st.text("<>tab/", min_size=1, max_size=5)


def split(pieces: list[str], start: str, end: str, prompt: str = "") -> list[Fragment]:
    splitter = ReasoningSplitter(start, end, prompt)
    out = [fragment for piece in pieces for fragment in splitter.feed(Fragment(piece))]
    return [*out, *splitter.flush()]


def runs(fragments: list[Fragment]) -> list[tuple[str, str]]:
    """The text by type, neighbours of one type joined; tags stay apart."""
    joined: list[tuple[str, str]] = []
    for fragment in fragments:
        if joined and joined[-1][0] == fragment.reasoning and "tag" not in fragment.reasoning:
            joined[-1] = (fragment.reasoning, joined[-1][1] + fragment.text)
        else:
            joined.append((fragment.reasoning, fragment.text))
    return joined


def expected(text: str, start: str, end: str) -> list[tuple[str, str]]:
    """The same by the simplest means: the whole text at once."""
    out: list[tuple[str, str]] = []
    thinking = False
    while text:
        before, tag, text = text.partition(end if thinking else start)
        if before:
            out.append(("reasoning" if thinking else "none", before))
        if tag:
            out.append(("end_tag" if thinking else "start_tag", tag))
            thinking = not thinking
    return out


@given(st.data(), TAGS, TAGS)
def test_the_split_does_not_depend_on_the_fragments(data: st.DataObject, start: str, end: str) -> None:
    pieces = data.draw(st.lists(st.sampled_from([start, end]) | st.text("<>tab/ ", max_size=6), max_size=8))
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    chunks = [chunk for chunk in chunks if chunk]
    fragments = split(chunks, start, end)
    assert runs(fragments) == expected(text, start, end)
    assert sum(fragment.tokens for fragment in fragments) == len(chunks)
    assert all(fragment.text for fragment in fragments)


def test_a_thought_then_an_answer() -> None:
    fragments = split(["<th", "ink>", "Hm", "m.</thi", "nk>", "\n", "Yes", " <b"], "<think>", "</think>")
    assert runs(fragments) == [
        ("start_tag", "<think>"),
        ("reasoning", "Hmm."),
        ("end_tag", "</think>"),
        ("none", "\nYes <b"),
    ]


def test_a_prompt_that_ends_in_an_open_tag_begins_the_thought() -> None:
    fragments = split(["Hm", "</think>", "Yes"], "<think>", "</think>", prompt="<|assistant|>\n<think>\n")
    assert runs(fragments) == [("reasoning", "Hm"), ("end_tag", "</think>"), ("none", "Yes")]


def test_text_that_is_no_tag_is_not_held_back_for_long() -> None:
    splitter = ReasoningSplitter("<think>", "</think>")
    assert [fragment.text for fragment in splitter.feed(Fragment("a <"))] == ["a "]
    assert [(f.text, f.tokens) for f in splitter.feed(Fragment("b"))] == [("<b", 1)]


@pytest.mark.parametrize(
    ("chunks", "prompt", "wanted"),
    [
        (["<th", "ink>a</think>", '"<think>"'], "", "start reasoning end none"),
        (["a</thi", "nk>", '"<think>', '</think>"'], "<think>\n", "reasoning end none"),
        (['"<think>', 'x</think>"'], "", "none"),
        (["<thx<think>"], "", "none"),
        (["1", "<think>"], "", "none"),
    ],
)
def test_before_an_answer_of_a_form_there_is_one_thought_at_most(chunks: list[str], prompt: str, wanted: str) -> None:
    splitter = ReasoningSplitter("<think>", "</think>", prompt, once=True)
    fragments = [part for chunk in chunks for part in splitter.feed(Fragment(chunk))] + list(splitter.flush())
    short = {"start_tag": "start", "end_tag": "end"}
    assert " ".join(short.get(kind, kind) for kind, _ in runs(fragments)) == wanted
    assert "".join(fragment.text for fragment in fragments) == "".join(chunks)


@pytest.mark.parametrize(
    ("prompt", "closed"),
    [
        ("Hi\n<think>\n", "Hi\n<think>\n\n</think>\n\n"),
        ("Hi\n<think>", "Hi\n<think></think>\n\n"),
        ("Hi <think>x", "Hi <think>x"),
        ("Hi", "Hi"),
    ],
)
def test_an_empty_thought_has_the_form_that_templates_give_it(prompt: str, closed: str) -> None:
    config = PredictionConfig(reasoning_parsing=ReasoningParsing(enabled=True))
    assert with_thought_closed(Prompt(prompt), config).text == closed
