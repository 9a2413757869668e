"""A plan of what will be downloaded: the choices, which of them is selected, and what of it is in the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from ..errors import ConfigError
from .download_options import DownloadOption
from .model import Model
from .model_library import Library

Availability = Literal["notDownloaded", "downloading", "downloaded"]


class Preference(Struct, frozen=True):
    """What to select, where there is such a choice; of the two fields one is given.

    Parameters:
        file_name: the name, or the path in its repository, of the model's file.
        quantization: its quantisation, in any case.
    """

    file_name: str | None = None
    quantization: str | None = None

    def fits(self, option: DownloadOption) -> bool:
        """Whether ``option`` is what is preferred."""
        if self.file_name is not None:
            wanted = f"/{self.file_name.strip('/')}".casefold()
            return any(f"/{file.file}".casefold().endswith(wanted) for file in option.files)
        return (self.quantization or "").casefold() == (option.quantization or "").casefold()


class DownloadPlan:
    """What will be downloaded of one model.

    Parameters:
        label: what the model is called, for people.
        options: the choices, the smallest first.
        models: for each of them, the model in the library that it has become; ``None`` where it is not there.
        preferences: what to select, the best first; else what is in the library already, else what is recommended.
    """

    def __init__(
        self,
        label: str,
        options: Sequence[DownloadOption],
        models: Sequence[Model | None],
        preferences: Sequence[Preference] = (),
    ) -> None:
        self.label = label
        self.options = options
        self.models = models
        self.recommended = next((number for number, each in enumerate(options) if each.recommended), 0)
        owned = [number for number, model in enumerate(models) if model is not None]
        self.owned = self.recommended if self.recommended in owned else (owned[-1] if owned else None)
        """The choice that is in the library: the recommended one, else the largest."""
        preferred = [number for wanted in preferences for number, each in enumerate(options) if wanted.fits(each)]
        self.selected: int | None = preferred[0] if preferred else self.recommended
        """The selected choice; ``None``: what is in the library already stays all there is."""
        if not preferred and self.owned is not None:
            self.selected = None
        self.version = 0
        """Counts the changes of the selection."""

    @property
    def choice(self) -> DownloadOption:
        """The selected choice, or what is in the library in its place."""
        number = self.owned if self.selected is None else self.selected
        assert number is not None
        return self.options[number]

    @property
    def model(self) -> Model | None:
        """The model in the library that is selected, which is not downloaded again."""
        number = self.owned if self.selected is None else self.selected
        return None if number is None else self.models[number]

    def select(self, number: int | None) -> None:
        """Select a choice, or what is in the library already.

        Raises:
            ConfigError: there is no such choice, or nothing of the model is in the library.
        """
        if number is None and self.owned is None:
            raise ConfigError(f"Nothing of {self.label} is in the library, so that there is nothing to keep")
        if number is not None and not 0 <= number < len(self.options):
            raise ConfigError(f"{self.label} has no download option {number}, only 0 to {len(self.options) - 1}")
        self.selected = number


async def make_plan(library: Library, label: str, name: str, preferences: Sequence[Preference] = ()) -> DownloadPlan:
    """Look up what can be downloaded under ``name``, and what of it is in the library.

    Parameters:
        label: see :class:`DownloadPlan`.
        name: see :meth:`Library.download_options`.
        preferences: see :class:`DownloadPlan`.

    Raises:
        NotDownloadableError, DownloadError: as :meth:`Library.download_options`.
    """
    options = await library.download_options(name)
    models = [await library.downloaded(option) for option in options]
    return DownloadPlan(label, options, models, preferences)


def availability(library: Library, plan: DownloadPlan, number: int) -> Availability:
    """Whether a choice is in the library, or on its way there."""
    if plan.models[number] is not None:
        return "downloaded"
    return "downloading" if library.is_fetching(plan.options[number]) else "notDownloaded"
