"""Find stop strings in the answer alone: where reasoning is parsed, thoughts and tool calls may contain them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from ..config import PredictionConfig
from ..domain.generation import Fragment, LogProb, StopReason, joined
from ..engines.base import CompletionRequest
from ..engines.text_overlap import overlap


@dataclass(frozen=True)
class Stop:
    """The end of an answer at a stop string.

    Parameters:
        text: the stop string.
        reason: why the prediction ended.
    """

    text: str
    reason: StopReason


class StopStrings:
    """Ends the answer before the first stop string. Text that may be the beginning of one is held back.

    A stop string that equals a tag of reasoning ends the answer at that tag; one that spans a tag is never found.

    Parameters:
        words: the stop strings, with the stop reason of each.
    """

    def __init__(self, words: Sequence[tuple[str, StopReason]]) -> None:
        self._words = words
        self._firsts = {word[0] for word, _ in words}
        self._held: Fragment | None = None
        self.found: Stop | None = None

    def feed(self, fragment: Fragment) -> Iterator[Fragment]:
        """Yield the text up to the end of ``fragment``, as far as it is certain and before any stop string."""
        if self.found is not None:
            return
        if fragment.reasoning != "none":
            yield from self.flush()
            if fragment.reasoning != "reasoning":
                self.found = next((Stop(word, reason) for word, reason in self._words if word == fragment.text), None)
            if self.found is None:
                yield fragment
            return
        if self._held is None and self._firsts.isdisjoint(fragment.text):
            yield fragment
            return
        self._held, fragment = joined(self._held, fragment)
        yield from self.flush()
        text = fragment.text
        found = [
            (at + len(word), at, index) for index, (word, _) in enumerate(self._words) if (at := text.find(word)) >= 0
        ]
        if found:
            _, at, index = min(found)  # the one that was complete first
            self.found = Stop(*self._words[index])
            if at:
                yield _parted(fragment, at)[0]
            return
        keep = max(overlap(text, word) for word, _ in self._words)
        if keep == len(text):
            self._held = fragment
            return
        if keep:
            fragment, self._held = _parted(fragment, len(text) - keep)
        yield fragment

    def flush(self) -> Iterator[Fragment]:
        """Yield what was held back, where the answer ends or is interrupted."""
        held, self._held = self._held, None
        if held is not None:
            yield held


def _parted(fragment: Fragment, at: int) -> tuple[Fragment, Fragment]:
    """Return the text before a place and from there on. The log-probabilities of a token are where its text begins."""
    logprobs, before = fragment.logprobs, 0
    sizes = [_size(each.token) for each in logprobs or ()]
    left = sum(sizes) - len(fragment.text[at:].encode())  # the first text may be the rest of a token before
    while before < len(sizes) and left > 0:
        left -= sizes[before]
        before += 1
    first = msgspec.structs.replace(fragment, text=fragment.text[:at], logprobs=logprobs and logprobs[:before])
    return first, msgspec.structs.replace(
        fragment, text=fragment.text[at:], tokens=0, logprobs=logprobs and logprobs[before:]
    )


def _size(token: LogProb) -> int:
    return len(token.text.encode() if token.data is None else token.data)


def stop_strings(config: PredictionConfig) -> StopStrings | None:
    """Return what finds the config's stop strings in the answer alone; ``None`` where they count everywhere.

    The engine finds those, and must not be given the ones that are found here: :func:`without_stop_strings`.
    """
    parsing = config.reasoning_parsing
    if config.stop_strings_in_reasoning or parsing is None or not parsing.enabled:
        return None
    words: list[tuple[str, StopReason]] = []
    for word in config.stop_strings or ():
        words.append((word, "stop_string"))
    for word in config.tool_call_stop_strings or ():
        words.append((word, "tool_calls"))
    return StopStrings(words) if words else None


def without_stop_strings(request: CompletionRequest) -> CompletionRequest:
    """Return ``request`` for an engine that need not look for stop strings."""
    config = msgspec.structs.replace(request.config, stop_strings=[], tool_call_stop_strings=None)
    return replace(request, config=config)
