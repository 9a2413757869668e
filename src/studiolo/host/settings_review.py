"""Settings that are well formed and have no effect: models, folders, programs and files that do not exist."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import StudioloError
from ..library.gguf_file import ENCODERS
from ..library.model_library import Library
from ..library.other_programs import PROGRAM_NAMES, further_folder, is_folder, may_not_read, program_folders
from ..paths import Home
from ..settings import LibrarySettings, Settings
from ..toml_file import line_of, nearest

_log = logging.getLogger("studiolo.settings")


class Doubt(NamedTuple):
    """A setting that has no effect.

    Parameters:
        where: the file, the line and the setting.
        what: why it has none.
        remedy: what to do about it.
    """

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where} has no effect: {self.what}. {self.remedy}"


async def review(settings: Settings, home: Home, library: Library) -> list[Doubt]:
    """Return the settings that have no effect.

    Raises:
        ConfigError: the user's catalog is wrong.
    """
    found: list[Doubt] = []

    def doubt(setting: str, what: str, remedy: str, line: int | None = None) -> None:
        line = line or line_of(home.settings, setting)
        found.append(Doubt(f"{home.settings}{f':{line}' if line else ''}: {setting}", what, remedy))

    if settings.models:
        models = await library.models()
        by_path = {model.path: model for model in models}
        names = [each for model in models for each in (model.group, model.key)] + list(library.catalog)
        for key, table in settings.models.items():
            files = library.known_names.files(key)
            if not files and not library.catalog.find(key) and not Path(key).is_file():
                matches = library.known_names.matches(key)
                what = f"{len(matches)} models match" if matches else "no model of the library has this name"
                shown = nearest(key.rpartition("/")[2], names) or "List the models with: studiolo ls."
                doubt(f"models.{key}", what, shown)
            for path in files:
                model = by_path[path]
                if table.domain == "llm" and model.metadata and model.metadata.architecture in ENCODERS:
                    what = f"{model.key} is an encoder ({model.metadata.architecture}), which generates no text"
                    doubt(f"models.{key}.domain", what, "Remove it.")
    for index, name in enumerate(settings.library.folders):
        folder = further_folder(home, name)
        if await asyncio.to_thread(may_not_read, folder):
            doubt(f"library.folders[{index}]", f"{folder} may not be read", "Correct its permissions or the setting.")
        elif not await asyncio.to_thread(is_folder, folder):
            doubt(f"library.folders[{index}]", f"{folder} is not a folder", "Create it, or correct the setting.")
    if settings.library.programs != LibrarySettings().programs:
        for index, program in enumerate(settings.library.programs):
            if not await asyncio.to_thread(program_folders, program):
                what = f"{PROGRAM_NAMES[program]} has no models on this machine"
                doubt(f"library.programs[{index}]", what, "Remove it, or install the program.")
    tokens = settings.server.token_file
    if tokens is not None and not await asyncio.to_thread(Path(_expanded(tokens)).is_file):
        doubt("server.token_file", f"{tokens} is not a file", f"Create it with: studiolo server token {tokens}")
    return found


def _expanded(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # "~nobody": there is no such user
        return path


class SettingsReview:
    """Logs the settings that have no effect, each once, when the settings are first used and when they change.

    Parameters:
        settings: the settings in force.
    """

    def __init__(self, settings: Callable[[], Settings], home: Home, library: Library) -> None:
        self._settings = settings
        self._home = home
        self._library = library
        self._reviewed: Settings | None = None
        self._logged: set[Doubt] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to review settings that were not reviewed yet."""
        settings = self._settings()
        if settings is self._reviewed or self._task is not None:
            return
        self._reviewed = settings
        self._task = asyncio.create_task(self._review(settings), name="review the settings")

    async def settled(self) -> None:
        """Wait until the review that runs has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _review(self, settings: Settings) -> None:
        try:
            for doubt in await review(settings, self._home, self._library):
                if doubt not in self._logged:
                    self._logged.add(doubt)
                    _log.warning("%s", doubt)
        except StudioloError as error:  # requests that use the library get the error
            _log.debug("the settings could not be reviewed: %s", error)
        finally:
            self._task = None
