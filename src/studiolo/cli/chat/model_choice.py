"""The model of a conversation: by name, or from a list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import ModelNotFoundError
from ...sdk.sync_client import Client
from ...sdk.sync_models import LLM
from ..output import fetch_progress, load_progress, printable, say


def open_model(client: Client, name: str | None, *, ttl: int | None = None, plain: bool = False) -> LLM:
    """Return a model, which is loaded if it is not: a bar shows how far that is.

    Parameters:
        name: an identifier, a model key or a path; ``None`` for a loaded model, else the one last used.
        ttl: seconds of idleness after which it is unloaded.
        plain: print lines instead of a bar.
    """
    options: dict[str, Any] = {} if ttl is None else {"ttl": ttl}
    shown = printable(name) if name else "the model"
    is_loaded = any(name in (None, each.identifier) for each in client.llm.list_loaded())
    if plain and not is_loaded and sys.stderr.isatty():
        say(f"loading {shown}...")
    with fetch_progress() as fetching, load_progress(shown, hidden=plain or is_loaded) as loading:
        return client.llm.model(
            name,
            on_load_progress=loading,
            on_fetching=lambda each: fetching(each.model_key, each.downloaded_bytes, each.total_bytes),
            **options,
        )


def names_of_models(client: Client) -> list[str]:
    """Return the names of the models that can answer: loaded ones first, then those on disk."""
    loaded = [each.identifier for each in client.llm.list_loaded()]
    return list(dict.fromkeys([*loaded, *(each.info.model_key for each in client.llm.list_downloaded())]))


def choose_model(client: Client, ask: Callable[[str], str], show: Callable[[str], None]) -> str | None:
    """Return the name of a model that the user chooses; ``None`` where there is nothing to choose from.

    Parameters:
        ask: returns the user's answer to a question; may raise :class:`EOFError`.
        show: prints a line.
    """
    if client.llm.list_loaded() or len(names := names_of_models(client)) < 2:
        return None
    for number, name in enumerate(names, 1):
        show(f"{number:3}  {printable(name)}")
    while True:
        answer = ask("Which model? A number or a name; Enter for the last used one: ").strip()
        try:
            return None if not answer else _named(answer, names)
        except ModelNotFoundError as error:
            show(str(error))


def _named(answer: str, names: Sequence[str]) -> str:
    """Return the name that an answer means: by its number, or by a part that no other name has."""
    if answer in names:
        return answer
    if answer.isdecimal():
        if 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        raise ModelNotFoundError(f"The list has no number {answer}")
    found = [name for name in names if answer.lower() in name.lower()]
    if len(found) != 1:
        raise ModelNotFoundError(f"{len(found) or 'No'} models have {answer!r} in their names")
    return found[0]
