"""One of the two sides of the playground: a model, its settings, and what it writes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from ...chats.settings import OTHER_NAMES
from ...config import PredictionConfig
from ...errors import StudioloError
from ...protocol.llm import LogProb
from ..backend import backend
from ..element_groups import fact
from ..elements import heading
from ..notices import describe
from ..settings_form import SettingsForm

FIRST = ("temperature", "max_tokens", "top_p_sampling", "seed")
"""The settings that are shown first."""

ELSEWHERE = OTHER_NAMES | {"log_probs", "raw_tools", "tool_choice"}
"""Fields that the form leaves out: second names, and what the page sets."""

ALTERNATIVES = 5
"""Candidates that are shown of each token."""

MAX_TOKENS_SHOWN = 1000
"""Tokens that are shown with their probabilities at most; the rest is text."""

MAX_CHARS = 200_000
SHOW_INTERVAL_SEC = 0.2


@dataclass(frozen=True)
class Request:
    """What both sides are given.

    Parameters:
        prompt: the text.
        is_chat: whether it is a message of a chat; otherwise the model continues it.
        shows_odds: whether the tokens are shown with their log-probabilities.
    """

    prompt: str
    is_chat: bool
    shows_odds: bool


class Side:
    """A side.

    Parameters:
        name: ``"A"`` or ``"B"``.
        models: the keys to choose from.
        chosen: the key that is chosen first, if any.
    """

    def __init__(self, name: str, models: Sequence[str], chosen: Sequence[str]) -> None:
        self.name = name
        with ui.element("section").classes("st-panel") as self._root:
            self._root.props["aria-label"] = f"Side {name}"
            heading(name)
            self._model = ui.select({"": "None", **{key: key for key in models}}, value=[*chosen, ""][0])
            self._model.props("outlined dense options-dense").classes("st-wide")
            self._model.props["label"] = f"{name}: model"
            self._form = SettingsForm(PredictionConfig, FIRST, self._changed, without=ELSEWHERE, label=f"{name}:")
            self._answer = ui.element("div").classes("st-plain")
            self._answer.props["role"] = "region"
            self._answer.props["aria-label"] = f"Answer of {name}"
            with self._answer:
                self._text = ui.label("")
                self._tokens = ui.element("div")
            self._about = fact("").classes("st-pre-line")
            self._about.props["role"] = "status"
            self._odds = fact("").classes("st-pre-line st-mono")
            self._odds.props["aria-live"] = "polite"

    @property
    def model(self) -> str:
        """The key of the model; empty for none."""
        return str(self._model.value or "")

    async def _changed(self) -> None:
        self._form.show_fault(None)

    async def run(self, request: Request) -> None:
        """Answer a request. Errors are shown at the side."""
        self._text.set_text("")
        self._tokens.clear()
        self._odds.set_text("")
        self._about.set_text("Loading the model, or waiting for it…")
        try:
            await self._run(request)
        except asyncio.CancelledError:
            self._say("Stopped.")
        except StudioloError as error:
            self._form.show_fault(error)
            self._say(describe(error))

    def _say(self, text: str) -> None:
        if not self._root.is_deleted:
            self._about.set_text(text)

    async def _run(self, request: Request) -> None:
        config = self._form.values | ({"log_probs": ALTERNATIVES} if request.shows_odds else {})
        llm = await backend().client.llm.model(self.model)
        make = llm.respond_stream if request.is_chat else llm.complete_stream
        text, shown_at, odds = "", 0.0, 0
        async with contextlib.aclosing(make(request.prompt, config=config)) as stream:
            async for fragment in stream:
                if self._root.is_deleted:
                    return
                if fragment.logprobs and odds < MAX_TOKENS_SHOWN:
                    odds += len(fragment.logprobs)
                    self._add_tokens(fragment.logprobs)
                    continue
                text = (text + fragment.content)[:MAX_CHARS]
                if time.monotonic() - shown_at > SHOW_INTERVAL_SEC:
                    shown_at = time.monotonic()
                    self._text.set_text(text)
            self._text.set_text(text)
            stats = stream.stats
        if stats is not None:
            rate = f"{stats.tokens_per_second:.1f} tokens/s, " if stats.tokens_per_second else ""
            first = f"first after {stats.time_to_first_token_sec:.2f} s, " if stats.time_to_first_token_sec else ""
            self._say(f"{stats.predicted_tokens_count or 0} tokens, {rate}{first}stop reason {stats.stop_reason}")

    def _add_tokens(self, entries: Sequence[Sequence[LogProb]]) -> None:
        with self._tokens:
            for entry in entries:
                probability = math.exp(entry[0].logprob)
                token = TextElement(tag="span", text=entry[0].text.replace("\n", "⏎\n") or "∅")
                token.classes(f"st-token st-odds-{min(int(probability * 5), 4)}")
                token.props("tabindex=0 role=button")
                token.props["aria-label"] = f"{entry[0].text!r}, {probability:.0%}"
                show = partial(self._odds.set_text, _described(entry))
                token.on("mouseenter", show)
                token.on("focus", show)


def _described(entry: Sequence[LogProb]) -> str:
    """Return the probability of a token and of its alternatives, a line each."""
    return "\n".join(f"{math.exp(each.logprob):7.2%}  {each.logprob:8.3f}  {each.text!r}" for each in entry)
