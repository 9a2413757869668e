"""The part of the page with the prompts that engines get."""

from __future__ import annotations

import time
from functools import partial

from nicegui import ui

from ..backend import backend
from ..element_groups import fact, note, open_dialog, panel, row, show_items
from ..elements import button, heading
from .recorder import Entry, recorder
from .snippets import snippets


def requests_section() -> None:
    """Make it. It follows the recorder."""
    heading("Requests")
    fact(
        "Prompts and answers of all clients, exactly as the engine has them. They are recorded only while this is on,"
        " in the server's memory, and anyone with a session sees them."
    )
    with row():
        switch = ui.switch("Record requests", value=recorder().is_on)
        button("Clear", recorder().clear)
        about = fact("")
        about.props["role"] = "status"
    place = panel()
    items: dict[int | str, ui.element] = {}

    async def turn() -> None:
        if switch.value:
            recorder().start()
        else:
            await recorder().stop()

    def refresh() -> None:
        if place.is_deleted:
            return
        about.set_text(recorder().error)
        if switch.value != recorder().is_on:
            switch.set_value(recorder().is_on)
        none = "Nothing is recorded."
        wanted = {each.number: partial(_make_row, each) for each in reversed(recorder().entries)}
        show_items(place, items, wanted or {none: partial(note, none)})

    switch.on_value_change(turn)
    refresh()
    recorder().watchers.add_page(refresh)


def _make_row(entry: Entry) -> ui.element:
    moment = time.strftime("%H:%M:%S", time.localtime(entry.time))
    with row() as line:
        line.props["role"] = "group"
        line.props["aria-label"] = f"{entry.kind.capitalize()} {entry.number}"
        fact(moment)
        fact(entry.kind)
        ui.label(entry.model).classes("st-mono")
        fact(f"{len(entry.text):,} characters")
        if entry.about:
            fact(entry.about)
        ui.label(entry.text[-120:].replace("\n", "⏎")).classes("st-grow st-dim st-small")
        button("Show", lambda: _show(entry))
    return line


def _show(entry: Entry) -> None:
    with open_dialog(f"{entry.kind.capitalize()} of {entry.model}") as dialog:
        text = ui.label(entry.text).classes("st-mono st-pre st-wide")
        text.props(f'tabindex=0 role=region aria-label="Text of the {entry.kind}"')
        if entry.kind == "prompt":
            context = backend().context
            programs = snippets(context.address_for_users, entry.model, entry.text, needs_token=context.needs_token)
            heading("The same request in a program", 3)
            code = ui.label("").classes("st-mono st-pre st-wide")
            code.props('tabindex=0 role=region aria-label="Program"')
            code.set_visibility(False)
            with row():
                for language, program in programs.items():
                    button(f"Copy as {language}", partial(_copy, code, program))
        with row().classes("st-actions"):
            button("Close", dialog.close)


def _copy(code: ui.label, program: str) -> None:
    """Show a program, and copy it where the browser allows that: over HTTPS, or on the same machine."""
    code.set_visibility(True)
    code.set_text(program)
    ui.clipboard.write(program)
