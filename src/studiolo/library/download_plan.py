"""Download plans: the options, which one is selected, and which are in the library already."""

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
    """An option to select, if there is such a one. One of the two fields is set.

    Parameters:
        file_name: the name of the model's file, or its path in the repository.
        quantization: its quantisation, in any case.
    """

    file_name: str | None = None
    quantization: str | None = None

    def fits(self, option: DownloadOption) -> bool:
        """Whether ``option`` is the preferred one."""
        if self.file_name is not None:
            wanted = f"/{self.file_name.strip('/')}".casefold()
            return any(f"/{file.file}".casefold().endswith(wanted) for file in option.files)
        return (self.quantization or "").casefold() == (option.quantization or "").casefold()


class DownloadPlan:
    """The plan of one model's download.

    Parameters:
        label: the model's name for people.
        options: the options, smallest first.
        models: for each option, its model in the library, or ``None``.
        preferences: the options to select, best first; by default what is in the library, else the recommended one.
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
        """The option that is in the library: the recommended one, else the largest."""
        preferred = [number for wanted in preferences for number, each in enumerate(options) if wanted.fits(each)]
        self.selected: int | None = preferred[0] if preferred else self.recommended
        """The selected option; ``None`` for what is in the library, so that nothing is downloaded."""
        if not preferred and self.owned is not None:
            self.selected = None
        self.version = 0
        """The number of changes of the selection."""

    @property
    def choice(self) -> DownloadOption:
        """The selected option, or the one in the library."""
        number = self.owned if self.selected is None else self.selected
        assert number is not None
        return self.options[number]

    @property
    def model(self) -> Model | None:
        """The model in the library, if it is the selected one: it is not downloaded again."""
        number = self.owned if self.selected is None else self.selected
        return None if number is None else self.models[number]

    def select(self, number: int | None) -> None:
        """Select an option, or (``None``) what is in the library.

        Raises:
            ConfigError: there is no such option, or nothing of the model is in the library.
        """
        if number is None and self.owned is None:
            raise ConfigError(f"Nothing of {self.label} is in the library that could be selected")
        if number is not None and not 0 <= number < len(self.options):
            raise ConfigError(f"{self.label} has no download option {number}, only 0 to {len(self.options) - 1}")
        self.selected = number


async def make_plan(library: Library, label: str, name: str, preferences: Sequence[Preference] = ()) -> DownloadPlan:
    """Return the plan for the options of ``name``.

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
    """Return whether an option is in the library, or being downloaded."""
    if plan.models[number] is not None:
        return "downloaded"
    return "downloading" if library.is_fetching(plan.options[number]) else "notDownloaded"
