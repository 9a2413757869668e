"""The chat page: conversations at one side, messages and the next question, settings at the other side."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nicegui import ui

from ...errors import StoredItemNotFoundError
from ...page_contract import PREFIX
from ..backend import backend, owner_of_page
from ..elements import heading, icon_button
from ..notices import show_error
from .composer import DRAFT_KEY, Composer
from .live import LiveConversation, new_conversation, open_conversation
from .messages import MessageList
from .panel import SettingsPanel
from .side import ConversationSide

UPDATE_SEC = 0.15
"""Changes are shown at most so often."""

_STORED = f"""(path) => {{
  const draft = sessionStorage.getItem({DRAFT_KEY});
  sessionStorage.removeItem({DRAFT_KEY});
  history.replaceState(history.state, "", path);
  if (draft) sessionStorage.setItem({DRAFT_KEY}, draft);
}}"""
"""Give a page the address of its conversation, which has one now; the draft goes along."""


async def build(conversation_id: str | None = None) -> None:
    """Make the elements of the page.

    Parameters:
        conversation_id: the stored conversation to show; ``None`` for a new one.
    """
    owner = owner_of_page()
    missing: StoredItemNotFoundError | None = None
    try:
        live = new_conversation(owner) if conversation_id is None else await open_conversation(owner, conversation_id)
        await live.refresh()
    except StoredItemNotFoundError as error:
        live, missing = new_conversation(owner), error
    page = ChatPage(live)
    await page.make()
    if missing is not None:
        show_error(missing)


class ChatPage:
    """A page that shows a conversation.

    Parameters:
        live: the conversation.
    """

    def __init__(self, live: LiveConversation) -> None:
        self.live = live
        self._scheduled: asyncio.TimerHandle | None = None
        self._shown_error: Exception | None = None
        self._is_stored = bool(live.tree)

    async def make(self) -> None:
        """Make the elements, and follow the conversation until the page is closed."""
        client: Any = ui.context.client
        with ui.element("div").classes("st-chat") as self._root:
            self._side = ConversationSide(self.live)
            with ui.element("section").props('aria-label="Conversation"').classes("st-talk"):
                with ui.element("div").classes("st-talk-head"):
                    icon_button("menu", "Conversations", lambda: self._toggle("st-show-side")).classes("st-toggle")
                    self._title = heading("", 1)
                    await self._make_model_choice()
                    icon_button("tune", "Settings", self._toggle_panel)
                self._messages = MessageList(self.live)
                self._composer = Composer(self.live, self._root)
            self._panel = SettingsPanel(self.live)
        await self._side.refresh()
        self._show()
        self.live.watch(self._changed)
        client.on_delete(lambda: self.live.unwatch(self._changed))
        ui.on("studiolo_focus", self._refresh, args=[], throttle=1.0)
        ui.run_javascript("window.addEventListener('focus', () => emitEvent('studiolo_focus'))")

    async def _refresh(self) -> None:
        """Show what another program has written while the user was elsewhere."""
        await self.live.refresh()
        await self._side.refresh()

    async def _make_model_choice(self) -> None:
        names = await names_of_models()
        current = self.live.conversation.model
        if current is not None and current not in names:
            names = [current, *names]
        options = {"": "The model last used", **{name: name for name in names}}
        self._model: Any = ui.select(options, value=current or "", on_change=self._choose_model)
        self._model.props('outlined dense options-dense aria-label="Model"').classes("st-model")

    def _choose_model(self) -> None:
        name = self._model.value or None
        if name != self.live.conversation.model:
            self.live.change(model=name)
            self._composer.count_soon()

    def _toggle_panel(self) -> None:
        self._panel.open()
        self._toggle("st-show-panel")

    def _toggle(self, name: str) -> None:
        shown = name in self._root.classes
        self._root.classes(remove="st-show-side st-show-panel")
        if not shown:
            self._root.classes(add=name)

    def _changed(self) -> None:
        """Show changes, not each at once."""
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_later(UPDATE_SEC, self._update)

    def _update(self) -> None:
        self._scheduled = None
        if self._root.is_deleted:
            return
        with self._root:
            self._show()

    def _show(self) -> None:
        live = self.live
        self._title.set_text(live.conversation.title or "New conversation")
        self._messages.show()
        self._composer.show()
        if live.error is not None and live.error is not self._shown_error:
            show_error(live.error)
        self._shown_error = live.error
        if live.conversation.model is not None and self._model.value != live.conversation.model:
            name = live.conversation.model
            if name not in self._model.options:
                self._model.set_options({**dict(self._model.options), name: name})
            self._model.set_value(name)
        if not self._is_stored and len(live.tree):
            self._is_stored = True
            ui.run_javascript(f"({_STORED})({json.dumps(f'{PREFIX}/chat/{live.conversation.id}')})")
        self._side.follow()


async def names_of_models() -> list[str]:
    """Return the names of the models that can answer: loaded ones first, then those on disk."""
    client = backend().client
    loaded = [each.identifier for each in await client.llm.list_loaded()]
    return list(dict.fromkeys([*loaded, *(each.model_key for each in await client.llm.list_downloaded())]))
