"""How far the load of a model is, for those who wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.mismatch import Mismatch
from ..domain.progress import DownloadProgress
from ..library.model import Model

if TYPE_CHECKING:
    from .instance import Instance


OnFetch = Callable[[str, DownloadProgress], None]
"""Called with the name of a model that is downloaded, and how far the download is."""


@dataclass(frozen=True, kw_only=True)
class LoadWatcher:
    """Called with what happens on the way to a loaded model.

    Parameters:
        on_fetch: called with the name of a model that is downloaded first, and how far the download is.
        on_evict: called with each instance that makes room, before it is unloaded.
        on_start: called with the model when its load begins.
        on_progress: called with the fraction loaded, 0 to 1, about ten times a second.
        on_mismatch: called with the settings that were asked for and are not in force on an instance that is loaded
            already.
    """

    on_fetch: OnFetch | None = None
    on_evict: Callable[[Instance], None] | None = None
    on_start: Callable[[Model], None] | None = None
    on_progress: Callable[[float], None] | None = None
    on_mismatch: Callable[[Instance, Sequence[Mismatch]], None] | None = None


class LoadBroadcast:
    """Calls the watchers of one load."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._watchers: list[LoadWatcher] = []
        self._begun = False
        self._ratio = 0.0

    @contextlib.contextmanager
    def watched_by(self, watcher: LoadWatcher | None) -> Generator[None]:
        """Call ``watcher`` for the length of the block: with how far the load is already, then with what happens."""
        if watcher is None:
            yield
            return
        self._watchers.append(watcher)
        try:
            if self._begun:
                self._announce(watcher)
            yield
        finally:
            self._watchers.remove(watcher)

    def evict(self, instance: Instance) -> None:
        """Report an instance that makes room."""
        for watcher in list(self._watchers):
            if watcher.on_evict is not None:
                watcher.on_evict(instance)

    def begin(self) -> None:
        """Report that the load begins."""
        self._begun = True
        for watcher in list(self._watchers):
            self._announce(watcher)

    def advance(self, ratio: float) -> None:
        """Report the fraction loaded."""
        self._ratio = ratio
        for watcher in list(self._watchers):
            if watcher.on_progress is not None:
                watcher.on_progress(ratio)

    def _announce(self, watcher: LoadWatcher) -> None:
        if watcher.on_start is not None:
            watcher.on_start(self._model)
        if watcher.on_progress is not None:
            watcher.on_progress(self._ratio)
