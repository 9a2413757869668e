"""The tables ``[models.KEY]`` of the settings: which model each is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..config import PredictionConfig
from ..library.model import Model
from ..library.model_library import Library
from ..library.name_resolution import NameIndex
from ..settings import ModelSettings, Settings

NONE = ModelSettings()


class ModelDefaults:
    """The defaults of models. A table's key names a model as a request does: in any case, by its key or a path.

    Parameters:
        settings: the settings in force.
        library: the models that there are.
    """

    def __init__(self, settings: Callable[[], Settings], library: Library) -> None:
        self._settings = settings
        self._library = library
        self._known: tuple[Settings, NameIndex, dict[Path, ModelSettings]] | None = None

    def of(self, model: Model) -> ModelSettings:
        """Return the settings of a model: of its own table, or of one for all its variants. Never blocks."""
        settings = self._settings()
        if not settings.models:
            return NONE
        names = self._library.known_names
        if self._known is None or self._known[0] is not settings or self._known[1] is not names:
            self._known = (settings, names, _by_file(settings, names))
        return self._known[2].get(model.path, NONE)

    def prediction(self, model: Model, preset: str | None = None) -> PredictionConfig:
        """Return what predictions of a model begin with. Raises :class:`PresetNotFoundError`."""
        return self._settings().prediction(self.of(model), preset)


def _by_file(settings: Settings, names: NameIndex) -> dict[Path, ModelSettings]:
    """Return the settings of each file: a table for one variant goes before one for several."""
    files = {key: names.files(key) for key in settings.models}
    found: dict[Path, ModelSettings] = {}
    for key in sorted(files, key=lambda key: len(files[key]), reverse=True):
        found |= dict.fromkeys(files[key], settings.models[key])
    return found
