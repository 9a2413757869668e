"""The conversations at the side: search, open, rename, branch, export, delete."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from ...chats.exports import Format, exported
from ...store.conversation import Conversation
from ..backend import backend
from ..element_groups import show_items
from ..elements import button, confirmed, entered, icon_button
from ..tasks import begin
from .live import LiveConversation, copy_branch, open_conversation

MAX_LISTED = 500
"""Conversations that are listed; search looks at these."""

MAX_MATCHES = 30
"""Conversations that are listed for their messages."""


class ConversationSide:
    """The list of conversations.

    Parameters:
        live: the one that the page shows.
    """

    def __init__(self, live: LiveConversation) -> None:
        self._live = live
        self._seen: tuple[str, bool] | None = None
        self._all: list[Conversation] = []
        self._shown: dict[object, ui.element] = {}
        with ui.element("aside").props('aria-label="Conversations"').classes("st-side"):
            ui.link("New conversation", "/").classes("st-new")
            self._search = ui.input(placeholder="Search", on_change=self._look)
            self._search.props('outlined dense debounce=200 aria-label="Search conversations"').classes("st-wide")
            self._items = ui.element("ul").classes("st-list")
            self._about = ui.label("").props("role=status").classes("st-dim st-small")
            self._matches = ui.element("ul").props('aria-label="In messages"').classes("st-list")
        self._menu = _Menu(self)

    def follow(self) -> None:
        """List again where the conversation of the page has another title, or is stored for the first time."""
        seen = (self._live.conversation.title, bool(len(self._live.tree)))
        is_first, is_same = self._seen is None, seen == self._seen
        self._seen = seen
        if not is_first and not is_same:
            begin(self._refresh_after_write(), "list conversations")

    async def refresh(self) -> None:
        """Read the list again."""
        self._all = await backend().conversations(self._live.owner).list(limit=MAX_LISTED)
        self._list()

    async def opened(self, conversation: Conversation) -> LiveConversation:
        """Return a conversation of the list, with its messages."""
        if conversation.id == self._live.conversation.id:
            return self._live
        return await open_conversation(self._live.owner, conversation.id)

    def is_current(self, conversation: Conversation) -> bool:
        """Return whether the page shows a conversation."""
        return conversation.id == self._live.conversation.id

    async def _refresh_after_write(self) -> None:
        await self._live.written()
        if not self._items.is_deleted:
            await self.refresh()

    async def _look(self) -> None:
        """List the conversations with the words in their titles at once, then those with the words in a message."""
        self._list()
        text = self._search.value or ""
        self._matches.clear()
        if not text.strip():
            self._about.set_text("")
            return
        self._about.set_text("Searching messages…")
        found, is_complete = await backend().conversations(self._live.owner).search(text, limit=MAX_MATCHES)
        if self._matches.is_deleted or (self._search.value or "") != text:
            return
        outcome = "In messages" if found else "No message has these words."
        partly = "" if is_complete else " Only the conversations changed last were searched."
        self._about.set_text(f"{outcome}{partly}")
        self._matches.clear()
        with self._matches:
            for each in found:
                with ui.element("li").classes("st-match"):
                    link = ui.link(each.conversation.title or "Conversation", f"/chat/{each.conversation.id}")
                    about = ui.label(each.excerpt).classes("st-dim st-small")
                    link.props["aria-describedby"] = f"c{about.id}"

    def _list(self) -> None:
        words = (self._search.value or "").casefold().split()
        found = [each for each in self._all if all(word in each.title.casefold() for word in words)]
        wanted = {(each.id, each.title, self.is_current(each)): partial(self._make_entry, each) for each in found}
        none = "No conversation has these words in its title." if words else "No conversations yet."
        show_items(self._items, self._shown, wanted or {none: partial(_make_note, none)})

    def _make_entry(self, conversation: Conversation) -> ui.element:
        title = conversation.title or "Conversation"
        with ui.element("li").classes("st-entry") as made:
            link = ui.link(title, f"/chat/{conversation.id}")
            if self.is_current(conversation):
                link.props('aria-current="true"')
            more = icon_button("more_vert", "Actions").classes("st-more")
            more.props["aria-label"] = f"Actions: {title}"
            more.on("click", lambda: self._menu.open(conversation, more))
        return made


def _make_note(text: str) -> ui.element:
    with ui.element("li").classes("st-dim st-small") as made:
        ui.label(text)
    return made


class _Menu:
    """The menu of an entry. All entries share one: elements of a page cost time and memory."""

    def __init__(self, side: ConversationSide) -> None:
        self._side = side
        self._conversation: Conversation | None = None
        with ui.dialog() as self._dialog, ui.card().classes("st-dialog st-menu"):
            self._title = ui.label("").classes("st-dim st-small")
            for text, action, kind in (
                ("Rename", self._rename, "plain"),
                ("Copy as a branch", self._branch, "plain"),
                ("Export as Markdown", self._export_markdown, "plain"),
                ("Export as JSON", self._export_json, "plain"),
                ("Delete", self._delete, "danger"),
            ):
                button(text, self._chosen(action)).classes(f"st-choice st-choice-{kind}")

    def open(self, conversation: Conversation, beside: ui.element) -> None:
        """Show the menu of a conversation."""
        self._conversation = conversation
        self._title.set_text(conversation.title or "Conversation")
        self._dialog.open()

    def _chosen(self, action: Callable[[Conversation], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            self._dialog.close()
            if self._conversation is not None:
                await action(self._conversation)

        return run

    async def _rename(self, conversation: Conversation) -> None:
        title = await entered("Title", conversation.title, "Rename")
        if title is not None and title.strip():
            live = await self._side.opened(conversation)
            live.change(title=title.strip()[:200])
            await live.written()
            await self._side.refresh()

    async def _branch(self, conversation: Conversation) -> None:
        copy = await copy_branch(await self._side.opened(conversation))
        ui.navigate.to(f"/chat/{copy.id}")

    async def _export_markdown(self, conversation: Conversation) -> None:
        await self._export(conversation, "markdown", "md")

    async def _export_json(self, conversation: Conversation) -> None:
        await self._export(conversation, "json", "json")

    async def _export(self, conversation: Conversation, form: Format, suffix: str) -> None:
        live = await self._side.opened(conversation)
        name = re.sub(r"[^\w-]+", "-", live.conversation.title).strip("-")[:60] or "conversation"
        ui.download(exported(live.conversation, live.tree, form).encode(), f"{name}.{suffix}")

    async def _delete(self, conversation: Conversation) -> None:
        if await confirmed(f"Delete “{conversation.title or 'Conversation'}” with all its branches?", "Delete"):
            live = await self._side.opened(conversation)
            live.stop()
            await live.written()
            await backend().conversations(live.owner).delete(conversation.id)
            if self._side.is_current(conversation):
                ui.navigate.to("/")
            else:
                await self._side.refresh()
