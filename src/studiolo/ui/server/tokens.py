"""The part of the page with the API tokens: list, create, revoke."""

from __future__ import annotations

import asyncio

from nicegui import ui

from ...errors import ConfigError
from ...page_contract import ApiTokens, ListedToken
from ..backend import backend, owner_of_page
from ..element_groups import fact, open_dialog, panel, row
from ..elements import button, confirmed, entered, heading
from ..notices import describe, notice


async def tokens_section() -> None:
    """Make it. Only the user of the server's computer can change API tokens there."""
    heading("API tokens")
    if owner_of_page():
        fact(
            "This session belongs to an API token. The user of the server's computer changes API tokens, in a session"
            " that studiolo ui begins there."
        )
        return
    tokens = backend().api_tokens(owner_of_page())
    if tokens is None:
        file = backend().context.home.root / "api-tokens"
        fact(
            "This server requires no API token: anyone who reaches its address can use it. These commands require them:"
        )
        commands = ui.label(f"studiolo server token '{file}'\nstudiolo server restart --token-file '{file}'")
        commands.classes("st-mono st-pre st-wide").props('role=region aria-label="Commands" tabindex=0')
        return
    await _Tokens(tokens).show()


class _Tokens:
    """The list.

    Parameters:
        tokens: what changes them.
    """

    def __init__(self, tokens: ApiTokens) -> None:
        self._tokens = tokens
        fact(f"Every client of this server needs one of them. They are kept in {tokens.path}")
        self._place = panel()
        with row():
            button("Create an API token…", self._create)

    async def show(self) -> None:
        """Read the file again."""
        try:
            listed = await asyncio.to_thread(self._tokens.listed)
            fault = None if listed else "There is no API token: no client is accepted."
        except ConfigError as error:
            listed, fault = [], describe(error)
        if self._place.is_deleted:
            return
        self._place.clear()
        with self._place:
            if fault is not None:
                ui.label(fault).classes("st-pre-line st-bad")
            for each in listed:
                self._make_row(each)

    def _make_row(self, token: ListedToken) -> None:
        with row() as line:
            line.props["role"] = "group"
            line.props["aria-label"] = f"API token {token.identifier}"
            ui.label(token.name or "without a name").classes("st-grow" if token.name else "st-grow st-dim")
            ui.label(f"sk-lm-{token.identifier}:…").classes("st-mono")
            if token.created:
                fact(f"created {token.created}")
            button("Revoke…", lambda: self._revoke(token))

    async def _create(self) -> None:
        name = await entered("What it is for", "", "Create")
        if name is None:
            return
        _show_once(await asyncio.to_thread(self._tokens.create, name))
        await self.show()

    async def _revoke(self, token: ListedToken) -> None:
        question = (
            f"Revoke the API token {token.identifier}{f' ({token.name})' if token.name else ''}? The server accepts no"
            " client and no session of it from then on. Connections that are open stay open."
        )
        if await confirmed(question, "Revoke"):
            try:
                await asyncio.to_thread(self._tokens.revoke, token.identifier)
                notice(f"{token.identifier} is revoked.")
            finally:
                await self.show()


def _show_once(token: str) -> None:
    """Show an API token in a dialog. It is forgotten when that is closed."""
    with open_dialog("The new API token", closes_by_button_alone=True) as dialog:
        ui.label("Copy it now: it is not shown again.")
        text = ui.label(token).classes("st-mono st-pre st-wide")
        text.props('tabindex=0 role=region aria-label="API token"')
        with row().classes("st-actions"):
            button("Copy", lambda: ui.clipboard.write(token))
            button("Close", dialog.close)
