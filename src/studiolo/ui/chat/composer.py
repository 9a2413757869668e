"""The next question: its text, images and documents, the count of its tokens."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

from nicegui import events, ui

from ...chats.documents import PASSAGES, WHOLE_SHARE, AttachedDocument
from ...chats.model_messages import as_chat
from ...domain.chat import Image, Text
from ...errors import StudioloError
from ...store.conversation import ConversationMessage, ConversationPart, Document
from ..backend import backend
from ..element_groups import row, show_items
from ..elements import button, icon_button
from ..notices import notice, show_error
from ..tasks import begin
from .live import LiveConversation

MAX_FILE_BYTES = 45 * 2**20
MAX_FILES = 20
COUNT_AFTER_SEC = 0.8
"""The draft is counted when it has not changed for so long."""

DRAFT_KEY = "'studiolo-draft ' + location.pathname"
"""Where the browser keeps the draft of a conversation while its tab is open, in JavaScript."""

_KEEP = f"""(event) => {{
  if (event.target.tagName === "TEXTAREA") sessionStorage.setItem({DRAFT_KEY}, event.target.value);
}}"""
_ASK = f"""
  const field = getElement(FIELD), text = field.inputValue || "";
  if (getElement(SEND).$el.classList.contains("hidden")) return;
  field.inputValue = "";
  sessionStorage.removeItem({DRAFT_KEY});
  setTimeout(() => emit(text));
"""
"""Send the question. The field is cleared at once, and not by the server: what is typed meanwhile is the next draft.
The server hears of the empty field before it hears of the question."""
_ASK_BY_BUTTON = f"() => {{{_ASK}}}"
_ASK_BY_KEY = f"""(event) => {{
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  {_ASK}
}}"""
_FILES = """(event) => {
  event.currentTarget.classList.remove("st-dropping");
  const files = (event.clipboardData || event.dataTransfer).files;
  if (!files.length) return;
  event.preventDefault();
  getElement(UPLOAD).$refs.qRef.addFiles(files);
}"""
_OVER = """(event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  event.currentTarget.classList.add("st-dropping");
}"""
_LEFT = """(event) => {
  if (!event.currentTarget.contains(event.relatedTarget)) event.currentTarget.classList.remove("st-dropping");
}"""
_DRAFT = f"getElement(FIELD).inputValue ? null : sessionStorage.getItem({DRAFT_KEY})"
"""What was typed before the draft came is newer, also where it has been sent meanwhile."""
_FORGET = "() => getElement(UPLOAD).$refs.qRef.reset()"
"""The browser's part refuses a file that it has uploaded before, also where it was removed meanwhile."""


class Composer:
    """The field for the next question, and what belongs to it.

    Parameters:
        live: the conversation.
        page: where files can be dropped.
    """

    def __init__(self, live: LiveConversation, page: ui.element) -> None:
        self._live = live
        self._attached: list[Image | AttachedDocument] = []
        self._is_uploading = False
        self._being_read: list[str] = []
        self._shown_chips: dict[Any, ui.element] = {}
        self._comes = True
        self._timer: asyncio.TimerHandle | None = None
        self._counting: asyncio.Task[None] | None = None
        with ui.element("div").classes("st-composer") as self._root:
            self._upload = ui.upload(
                multiple=True,
                max_file_size=MAX_FILE_BYTES,
                auto_upload=True,
                on_upload=self._uploaded,
                on_rejected=lambda: notice("A file is too large: 45 MiB are possible.", kind="warning"),
            ).classes("st-hidden")
            with row():
                self._chips = row()
                self._reading = ui.label("").props("role=status").classes("st-dim st-small")
            self._field = ui.textarea(placeholder="Ask a question").classes("st-wide")
            self._field.props('outlined autogrow autofocus aria-label="Question"')
            self._take_files(page)
            self._root.on("input", js_handler=_KEEP)
            self._field.on_value_change(self.count_soon)
            with row():
                icon_button("attach_file", "Attach images and documents", self._pick)
                self._count = ui.label("").classes("st-dim st-small")
                ui.space()
                self._send = button("Send", kind="primary")
                self._stop = button("Stop", lambda: self._live.stop())
        by_key, by_button = (
            each.replace("FIELD", str(self._field.id)).replace("SEND", str(self._send.id))
            for each in (_ASK_BY_KEY, _ASK_BY_BUTTON)
        )
        self._field.on("keydown", self._asked, js_handler=by_key)
        self._send.on("click", self._asked, js_handler=by_button)
        begin(self._restore(), "restore a draft")

    def show(self) -> None:
        """Show whether a question can be asked."""
        comes = self._live.answer is not None
        if self._comes and not comes:
            self.count_soon()
        self._comes = comes
        self._send.set_visibility(not comes)
        self._stop.set_visibility(comes)

    def count_soon(self, _: Any = None) -> None:
        """Count the tokens of the draft when it does not change any further."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(COUNT_AFTER_SEC, self._begin_count)

    def _take_files(self, page: ui.element) -> None:
        """Take files that are pasted into the field, or dropped anywhere on the page."""
        files, forget = (each.replace("UPLOAD", str(self._upload.id)) for each in (_FILES, _FORGET))
        self._field.on("paste", js_handler=files)
        page.on("drop", js_handler=files)
        page.on("dragover", js_handler=_OVER)
        page.on("dragleave", js_handler=_LEFT)
        self._upload.on("start", lambda: self._uploading(True), args=[])
        self._upload.on("finish", lambda: self._uploading(False), args=[])
        self._upload.on("finish", js_handler=forget)
        self._upload.on("failed", lambda: notice("A file could not be sent to the server.", kind="warning"), args=[])

    async def _restore(self) -> None:
        """Put the draft back that the browser has kept over a reload."""
        client = self._root.client
        await client.connected()
        with self._root:
            answer: Any = ui.run_javascript(_DRAFT.replace("FIELD", str(self._field.id)), timeout=10)
            draft: str | None = await answer
            if draft and not self._field.value and not self._root.is_deleted:
                self._field.set_value(draft)

    def _pick(self) -> None:
        self._upload.run_method("pickFiles")

    async def _asked(self, event: events.GenericEventArguments) -> None:
        text = str(event.args).strip()
        if not (text or self._attached or self._is_reading):
            return
        if self._live.answer is not None:
            self._put_back(text)
            return
        if self._is_reading:
            self._put_back(text)
            notice("A file is still being read. Send the question when it is there.", kind="warning")
            return
        attached, self._attached = self._attached, []
        try:
            parts = await self._parts(text, attached)
        except StudioloError:
            self._attached = attached
            self._put_back(text)
            raise
        self._show_attached()
        self._live.ask(parts)
        self.count_soon()

    def _put_back(self, text: str) -> None:
        """Make a question that is not asked the draft again, before what has been typed meanwhile."""
        draft = "\n".join(filter(None, (text, self._field.value)))
        self._field.set_value(draft)
        ui.run_javascript(f"sessionStorage.setItem({DRAFT_KEY}, {json.dumps(draft)})")

    async def _parts(self, text: str, attached: list[Image | AttachedDocument]) -> list[ConversationPart]:
        """Return the parts of a question. Of documents that are too long, the passages that fit it are taken."""
        parts: list[ConversationPart] = [each for each in attached if isinstance(each, Image)]
        documents = [each for each in attached if isinstance(each, AttachedDocument)]
        client = backend().client
        room = 0
        if documents:
            llm = await client.llm.model(self._live.conversation.model)
            room = int(await llm.get_context_length() * WHOLE_SHARE)
            for document in documents:
                needed = await llm.count_tokens(document.text)
                if needed <= room:
                    room -= needed
                    parts.append(Document(name=document.name, text=document.text))
                else:
                    found = await client.files.retrieve(text or document.name, [document.handle], limit=PASSAGES)
                    passages = "\n\n".join(entry.content for entry in found.entries)
                    parts.append(Document(name=document.name, text=passages, is_excerpt=True))
        return [*parts, Text(text)]

    @property
    def _is_reading(self) -> bool:
        """Whether a file is on its way to the server, or read there."""
        return self._is_uploading or bool(self._being_read)

    def _uploading(self, begins: bool) -> None:
        self._is_uploading = begins
        self._show_attached()

    def _uploaded(self, event: events.UploadEventArguments) -> None:
        if len(self._attached) + len(self._being_read) >= MAX_FILES:
            notice(f"A question has at most {MAX_FILES} files.", kind="warning")
            return
        self._being_read.append(event.file.name)
        begin(self._read(event.file), "read an attached file")

    async def _read(self, file: Any) -> None:
        try:
            data: bytes = await file.read()
            files = backend().client.files
            handle = await files.prepare_file(data, file.name)
            if handle.file_type == "image":
                self._attached.append(Image(data, file.name))
            else:
                document = await files.parse_document(handle)
                self._attached.append(AttachedDocument(file.name, document.content, handle))
        except StudioloError as error:
            with self._root:
                show_error(error)
        finally:
            self._being_read.remove(file.name)
            if not self._root.is_deleted:
                self._show_attached()
        self.count_soon()

    def _show_attached(self) -> None:
        show_items(self._chips, self._shown_chips, {id(each): partial(self._chip, each) for each in self._attached})
        names = ", ".join(self._being_read) or "a file"
        self._reading.set_text(f"Reading {names}…" if self._is_reading else "")

    def _chip(self, each: Image | AttachedDocument) -> ui.element:
        with ui.element("span").classes("st-chip") as chip:
            ui.label(each.name or "image")
            icon_button("close", f"Remove {each.name}", partial(self._remove, each))
        return chip

    def _remove(self, gone: Image | AttachedDocument) -> None:
        self._attached = [each for each in self._attached if each is not gone]
        self._show_attached()
        self.count_soon()

    def _begin_count(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
        self._counting = begin(self._show_count(), "count tokens")

    async def _show_count(self) -> None:
        """Show the tokens of the conversation with the draft against the context. It loads no model."""
        try:
            text = await self._counted()
        except StudioloError:
            text = ""
        if not self._root.is_deleted:
            self._count.set_text(text)

    async def _counted(self) -> str:
        wanted = self._live.conversation.model
        loaded = await backend().client.llm.list_loaded()
        if self._live.answer is not None or not loaded:
            return ""
        llm = next((each for each in loaded if each.identifier == wanted), None if wanted else loaded[0])
        if llm is None:
            return ""
        documents = [each.text for each in self._attached if isinstance(each, AttachedDocument)]
        draft = ConversationMessage(role="user", parts=[Text("\n\n".join([*documents, self._field.value or ""]))])
        messages = [
            ConversationMessage(role=each.role, parts=[part for part in each.parts if not isinstance(part, Image)])
            for each in [*self._live.branch, draft]
        ]
        chat = as_chat(messages, self._live.conversation.system_prompt, lambda image: image)
        prompt = await llm.apply_prompt_template(chat)
        used, context = await llm.count_tokens(prompt), await llm.get_context_length()
        return f"{used} of {context} tokens"
