"""Telling what a model thinks from what it answers, while the text comes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..protocol.llm import Fragment, ReasoningType
from ..protocol.streaming import merge_fragments


class ReasoningSplitter:
    """Marks the fragments of a text: reasoning, its tags, and the rest. Tags may be spread over fragments.

    Text that may turn out to be the beginning of a tag is held back until it is known.

    Parameters:
        start, end: the tags around a stretch of reasoning.
        prompt: what the model continues; where it ends in an open tag, the model begins by thinking.
    """

    def __init__(self, start: str, end: str, prompt: str = "") -> None:
        self._start, self._end = start, end
        self._thinking = prompt.rstrip().endswith(start)
        self._held: Fragment | None = None

    def feed(self, fragment: Fragment) -> Iterator[Fragment]:
        """What is known of the text up to and with ``fragment``, in pieces of one kind each."""
        if self._held is None and not self._thinking and self._start[0] not in fragment.content:
            yield fragment
            return
        if self._held is not None:
            merged = merge_fragments(self._held, fragment)
            if merged is None:  # the one is structure and the other is not
                yield from self.flush()
            else:
                fragment = merged
            self._held = None
        while True:
            tag = self._end if self._thinking else self._start
            before, found, after = fragment.content.partition(tag)
            if not found:
                break
            yield from self._take(fragment, before, self._kind)
            yield from self._take(
                fragment if not before else _textless(fragment),
                tag,
                "reasoningEndTag" if self._thinking else "reasoningStartTag",
            )
            self._thinking = not self._thinking
            fragment = msgspec.structs.replace(_textless(fragment), content=after)
            if not after:
                return
        keep = _overlap(fragment.content, tag)
        text = fragment.content[: len(fragment.content) - keep]
        yield from self._take(fragment, text, self._kind)
        if keep:
            rest = fragment if not text else _textless(fragment)
            self._held = msgspec.structs.replace(rest, content=fragment.content[-keep:])

    def flush(self) -> Iterator[Fragment]:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, None
        if held is not None:
            yield msgspec.structs.replace(held, reasoning_type=self._kind)

    @property
    def _kind(self) -> ReasoningType:
        return "reasoning" if self._thinking else "none"

    def _take(self, fragment: Fragment, text: str, kind: ReasoningType) -> Iterator[Fragment]:
        if text:
            yield msgspec.structs.replace(fragment, content=text, reasoning_type=kind)


def _textless(fragment: Fragment) -> Fragment:
    """A fragment for the rest of one whose tokens are accounted for already."""
    return Fragment(
        content="", tokens_count=0, contains_drafted=fragment.contains_drafted, is_structural=fragment.is_structural
    )


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``tag``."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0
