"""The messages of the branch that is shown, and the answer that comes."""

from __future__ import annotations

import json
from functools import partial
from html import escape
from typing import Any

import msgspec
from nicegui import ui

from ...chats.stats_line import summary
from ...domain.chat import Image, Text, ToolCall, ToolResult
from ...store.conversation import ConversationMessage, Document
from ..element_groups import note, show_items
from ..elements import button, icon_button
from ..markdown import as_html, split_blocks
from .answers import Answer, PendingCall
from .images import image_address
from .live import LiveConversation

_NAMES = {"system": "System", "user": "You", "assistant": "Model", "tool": "Tools"}
MAX_REMADE_CHARS = 4000
"""A block that grows and is longer is shown as it is until it ends: it is made again with every change."""

MAX_SHOWN_CHARS = 20_000
"""Characters of a document, or of a tool's result, that are shown."""


class MessageList:
    """The messages of a conversation. Those that stay the same are not made again.

    Parameters:
        live: the conversation.
    """

    def __init__(self, live: LiveConversation) -> None:
        self._live = live
        self._shown: list[tuple[Any, ui.element]] = []
        self._growing: GrowingAnswer | None = None
        self._end_of: tuple[Answer | None, str | None] | None = None
        """What the end shows: the answer that comes, and the last message."""
        self._revision = -1
        with ui.element("div").classes("st-messages").props('role="log" aria-label="Messages" tabindex="0"'):
            self._list = ui.element("div").classes("st-message-list")
            self._end = ui.element("div").classes("st-message-list")

    def show(self) -> None:
        """Show the conversation as it is."""
        if self._revision != self._live.revision:
            self._revision = self._live.revision
            self._show_branch()
        self._make_end()

    def _show_branch(self) -> None:
        branch, followers = self._live.branch, self._live.followers()
        siblings = [followers[message.parent] for message in branch]
        keys = [
            (message.id, tuple(each.id for each in beside)) for message, beside in zip(branch, siblings, strict=True)
        ]
        kept = 0
        while kept < min(len(keys), len(self._shown)) and keys[kept] == self._shown[kept][0]:
            kept += 1
        for _, element in self._shown[kept:]:
            element.delete()
        del self._shown[kept:]
        with self._list:
            for message, key, beside in zip(branch[kept:], keys[kept:], siblings[kept:], strict=True):
                self._shown.append((key, self._make(message, beside)))

    def _make_end(self) -> None:
        """Show what follows the messages: the answer that comes, what to do after a failure, or how to begin."""
        answer, last = self._live.answer, next(reversed(self._live.branch), None)
        if self._growing is not None and self._growing.answer is answer:
            self._growing.show()
            return
        shown, self._end_of = self._end_of, (answer, last and last.id)
        if shown == self._end_of:
            return  # a button that is made again while it is pressed would do nothing
        self._end.clear()
        self._growing = None
        with self._end:
            if answer is not None:
                self._growing = GrowingAnswer(answer)
                self._growing.show()
            elif last is None:
                note("Ask a question. The answer stays on this machine.")
            elif last.role == "user":
                with ui.element("div").classes("st-row"):
                    note("This question has no answer.")
                    button("Try again", lambda: self._live.retry(last))

    def _make(self, message: ConversationMessage, siblings: list[ConversationMessage]) -> ui.element:
        with ui.element("article").classes(f"st-message st-{message.role}") as made:
            made.props["aria-label"] = _NAMES[message.role]
            body = ui.element("div").classes("st-body")
            with body:
                self._make_body(message)
            with ui.element("div").classes("st-foot"):
                self._make_branches(message, siblings)
                self._make_actions(message, body)
                if message.role == "assistant":
                    stopped = "stopped" if message.stop_reason == "userStopped" else ""
                    failed = "not complete" if message.stop_reason == "failed" else ""
                    stats = summary(message.model, message.stats or {})
                    ui.label(" | ".join(filter(None, (stats, stopped, failed)))).classes("st-dim st-small")
        return made

    def _make_body(self, message: ConversationMessage) -> None:
        if message.reasoning.strip():
            fold("Reasoning", as_html(message.reasoning))
        for place, part in enumerate(message.parts):
            match part:
                case Image():
                    shown = ui.element("img").classes("st-image")
                    shown.props["src"] = image_address(self._live.conversation.id, message.id, place)
                    shown.props["alt"] = part.name or "Image"
                case Document():
                    what = "Passages of" if part.is_excerpt else "File"
                    fold(f"{what} {part.name}", text=part.text)
                case ToolCall():
                    fold(f"Calls {part.name}", text=pretty(part.arguments or {}))
                case ToolResult():
                    fold(f"Result of {part.name or 'a tool'}", text=part.content)
                case Text():
                    if message.role == "user":
                        ui.label(part.text).classes("st-plain")
                    elif part.text.strip():
                        ui.html(as_html(part.text), sanitize=False).classes("st-markdown")

    def _make_branches(self, message: ConversationMessage, siblings: list[ConversationMessage]) -> None:
        if len(siblings) < 2:
            return
        ids = [each.id for each in siblings]
        place = ids.index(message.id)
        before, after = siblings[place - 1], siblings[(place + 1) % len(siblings)]
        icon_button("chevron_left", "Previous branch", lambda: self._live.choose(before))
        ui.label(f"{place + 1} of {len(ids)}").classes("st-small st-dim")
        icon_button("chevron_right", "Next branch", lambda: self._live.choose(after))

    def _make_actions(self, message: ConversationMessage, body: ui.element) -> None:
        text = message.text
        if text.strip():
            icon_button("content_copy", "Copy", lambda: ui.clipboard.write(text))
        if message.role in ("user", "assistant"):
            icon_button("edit", "Edit", lambda: self._edit(message, body))
            icon_button("refresh", "Answer again", lambda: self._live.retry(message))

    def _edit(self, message: ConversationMessage, body: ui.element) -> None:
        """Put a field in the place of a message's text."""
        body.clear()

        def cancel() -> None:
            body.clear()
            with body:
                self._make_body(message)

        with body:
            field = ui.textarea(value=message.text).props('outlined autogrow autofocus aria-label="Edited message"')
            field.classes("st-wide")
            with ui.element("div").classes("st-row"):
                action = "Ask again" if message.role == "user" else "Keep as a branch"
                button(action, lambda: self._live.edit(message, field.value or ""), kind="primary")
                button("Cancel", cancel)


class GrowingAnswer:
    """The answer that comes: blocks of Markdown that have ended stay, the last one is made again.

    Parameters:
        answer: it.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._ended = ""
        self._calls: dict[int, ui.element] = {}
        with ui.element("article").props('aria-label="Answer that comes"').classes("st-message st-assistant"):
            self._reasoning_fold = ui.element("details").props("open").classes("st-fold")
            with self._reasoning_fold:
                with ui.element("summary"):
                    ui.label("Reasoning").classes("st-inline")
                self._reasoning = ui.label("").classes("st-plain st-dim")
            self._blocks = ui.element("div").classes("st-body")
            with self._blocks:
                self._last = ui.html("", sanitize=False).classes("st-markdown")
            self._permissions = ui.element("div")
            self._status = ui.label("").classes("st-dim st-small").props('role="status"')

    def show(self) -> None:
        """Show it as it is."""
        so_far = self.answer.partial
        reasoning, content = so_far.reasoning, so_far.content
        self._reasoning_fold.set_visibility(bool(reasoning.strip()))
        if reasoning:
            self._reasoning.set_text(reasoning)
        if not content.startswith(self._ended):  # another prediction: the one before it is a message by now
            self._blocks.clear()
            self._ended = ""
            with self._blocks:
                self._last = ui.html("", sanitize=False).classes("st-markdown")
        ended, growing = split_blocks(content[len(self._ended) :])
        if ended:
            self._last.set_content(as_html(ended))
            self._ended += ended
            with self._blocks:
                self._last = ui.html("", sanitize=False).classes("st-markdown")
        long = len(growing) > MAX_REMADE_CHARS
        html = f'<div class="st-plain">{escape(growing)}</div>' if long else as_html(growing)
        if html != self._last.content:
            self._last.set_content(html)
        self._status.set_text(self.answer.status)
        self._status.set_visibility(bool(self.answer.status))
        wanted = {id(call): partial(self._make_permission, call) for call in self.answer.calls}
        show_items(self._permissions, self._calls, wanted)

    def _make_permission(self, call: PendingCall) -> ui.element:
        with ui.element("div").props('role="group"').classes("st-panel") as panel:
            panel.props["aria-label"] = f"Call of {call.name}"
            ui.label(f"The model wants to call {call.name}")
            ui.label(pretty(call.arguments)).classes("st-mono st-plain")
            with ui.element("div").classes("st-row"):
                button("Allow", lambda: call.decide(True), kind="primary")
                button("Allow for this answer", lambda: self.answer.allow_always(call))
                button("Refuse", lambda: call.decide(False))
        return panel


def fold(title: str, html: str | None = None, *, text: str = "") -> None:
    """Make a part that is folded, of HTML that is safe, or of text."""
    with ui.element("details").classes("st-fold"):
        with ui.element("summary"):
            ui.label(title).classes("st-inline")
        if html is not None:
            ui.html(html, sanitize=False).classes("st-markdown st-dim")
        else:
            shown = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
            ui.label(shown).classes("st-mono st-plain")


def pretty(value: Any) -> str:
    """Return JSON for people."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, indent=2)
