"""The library: all the models on disk, what they are called, and how to get more of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import DownloadError, ModelNotFoundError
from ..paths import Home
from ..protocol.repository import DownloadProgressUpdate
from ..settings import LibrarySettings, SettingsFile
from . import names
from .catalog import Catalog, Entry
from .downloads import OnProgress, download, fetch_lock
from .gguf_file import read_header
from .index import Index
from .model import Model
from .programs import program_files
from .scan import File, once_each, scan
from .state import State

log = logging.getLogger(__name__)

_LAST_USED = "last_used_model"


class _Fetch:
    """A fetch in progress, and all who wait for it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Model] | None = None
        self.waiting = 0
        self.finalizing = False
        self.on_progress: list[OnProgress] = []
        self.on_finalizing: list[Callable[[], None]] = []

    def progress(self, update: DownloadProgressUpdate) -> None:
        for listener in self.on_progress:
            _tell(lambda listener=listener: listener(update))

    def finalize(self) -> None:
        self.finalizing = True
        for listener in self.on_finalizing:
            _tell(listener)


def _tell(listener: Callable[[], None]) -> None:
    try:
        listener()
    except Exception:  # it is one of several who wait for the same download
        log.exception("A listener to a download failed")


class Library:
    """The models under ``home.models``, in the further folders of the settings, and those of other programs.

    Used from one event loop; nothing in it blocks that loop.

    Parameters:
        home: where the models lie.
        state: what is remembered between runs; the home's own where it is not given, closed by :meth:`close`.
        settings: tells where else models lie; the home's settings file where it is not given.
    """

    def __init__(
        self, home: Home, state: State | None = None, settings: Callable[[], LibrarySettings] | None = None
    ) -> None:
        self.home = home
        self._state = state or State(home.state)
        self._owns_state = state is None
        self._lock = threading.Lock()
        self._index = Index(self._state)
        file = SettingsFile(home.settings)
        self._settings = settings or (lambda: file.current().library)
        self._catalog: tuple[tuple[int, int] | None, Catalog] | None = None
        self._fetches: dict[str, _Fetch] = {}

    @property
    def catalog(self) -> Catalog:
        """The models that can be fetched. Read again when the user's file has changed.

        Raises:
            ConfigError: the user's file is wrong.
        """
        stamp = None
        with contextlib.suppress(OSError):
            status = self.home.catalog.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        if self._catalog is None or self._catalog[0] != stamp:
            self._catalog = (stamp, Catalog.load(self.home.catalog))
        return self._catalog[1]

    async def models(self) -> list[Model]:
        """The models on disk, each variant of each, by key. One that cannot be used is there with its ``error``.

        Raises:
            ConfigError: the user's catalog or the settings file is wrong.
        """
        return await asyncio.to_thread(self._models)

    async def resolve(self, name: str) -> Model:
        """The model that ``name`` means.

        Parameters:
            name: in any case: a key, ``publisher/name``, either with ``@quantization``, a path relative to the models
                folder, the absolute path of a GGUF file anywhere, or the beginning of one of these that fits one
                model alone. What fits all variants of one model means the one that was used last, else the best.

        Raises:
            ModelNotFoundError: nothing answers to the name, or several models do.
            ModelFileError: the model's file cannot be used.
        """
        model = await asyncio.to_thread(self._resolve, name)
        if model.error is not None:
            raise self._index.failure(model)
        return model

    async def describe(self, name: str) -> tuple[Model, dict[str, Any]]:
        """The model that ``name`` means, even one that cannot be used, and the fields of its file's header.

        Arrays (the vocabulary) are left out. Raises :class:`ModelNotFoundError` as :meth:`resolve` does.
        """

        def look() -> tuple[Model, dict[str, Any]]:
            model = self._resolve(name)
            return model, {} if model.error is not None else read_header(model.path).fields

        return await asyncio.to_thread(look)

    async def default(self) -> Model | None:
        """The model for those who name none: the LLM used last, else the catalog's default, else the first by key."""
        return await asyncio.to_thread(self._default)

    async def remember_used(self, model: Model) -> None:
        """Take note that ``model`` was used: its key alone means this variant from now on, and no name at all means
        it too if it is an LLM."""
        await asyncio.to_thread(self._index.remember_used, model)
        if model.domain == "llm":
            await asyncio.to_thread(self._state.remember, _LAST_USED, str(model.path))

    async def fetch(
        self,
        name: str | None = None,
        on_progress: OnProgress | None = None,
        on_finalizing: Callable[[], None] | None = None,
    ) -> Model:
        """Fetch a model of the catalog; one that is there already is returned at once.

        Those who ask for the same model share one download, in this process and in others. It is given up when the
        last one who waits for it is cancelled.

        Parameters:
            name: the model's name in the catalog; ``None`` for the catalog's default.
            on_progress: told how far it is, ten times a second at most, and once at 100 %.
            on_finalizing: told that all bytes are there and are being checked.

        Raises:
            ModelNotFoundError: the name is neither in the catalog nor in the library.
            DownloadError: the model could not be fetched.
        """
        entry = self._entry(name)
        if entry is None:
            assert name is not None
            return await self.resolve(name)
        here = await asyncio.to_thread(self._have, entry)
        if here is not None:
            return here
        return await self._share(entry, on_progress, on_finalizing)

    async def close(self) -> None:
        """Stop fetches that are under way and close the state."""
        tasks = [fetch.task for fetch in self._fetches.values() if fetch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._owns_state:
            self._state.close()  # at once: an interpreter that is ending starts no more threads

    # What follows up to _entry runs in threads.

    def _models(self) -> list[Model]:
        reserved = {self.home.models / entry.file: entry.name for entry in self.catalog.values()}
        settings = self._settings()
        with self._lock:  # of two who ask at once, the second finds what the first has read
            return self._index.models(once_each(self._files(settings)), reserved)

    def _files(self, settings: LibrarySettings) -> list[File]:
        files = scan(self.home.models, "home")
        for folder in settings.folders:
            with contextlib.suppress(RuntimeError):  # "~nobody": there is no such user
                files += scan(self.home.root / Path(folder).expanduser(), "folder")
        for program in settings.programs:
            with contextlib.suppress(RuntimeError):  # there is no home folder
                files += program_files(program)
        return files

    def _resolve(self, name: str) -> Model:
        name = name.strip()
        models = self._models()
        path = Path(name)
        with contextlib.suppress(RuntimeError):  # "~nobody": there is no such user
            path = path.expanduser()
        if path.is_absolute():
            return self._at(path, models)
        matches = names.matches(name, models)
        if len(matches) == 1:
            return matches[0].model
        raise names.not_found(name, matches, models, self.catalog)

    def _at(self, path: Path, models: list[Model]) -> Model:
        """The model at an absolute path: one of the library, or a file outside it, whose key is its path."""
        try:
            real = path.resolve()
            path.stat()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL in the name
            raise ModelNotFoundError(f"There is no file {path}", cause=str(error)) from error
        for model in models:
            if model.path == path:
                return model
        for model in models:
            if model.path.resolve() == real:
                return model
        if not path.is_file():
            raise ModelNotFoundError(f"{path} is not a file", suggestion="Give the path of a GGUF file")
        with self._lock:
            return self._index.model_at(path)

    def _default(self) -> Model | None:
        models = self._models()
        last = self._state.recall(_LAST_USED)
        if last is not None:
            with contextlib.suppress(ModelNotFoundError):
                model = self._at(Path(last), models)
                if model.domain == "llm":
                    return model
        preferred = self.catalog.default
        llms = [model for model in models if model.domain == "llm" and model.selected]
        for model in llms:
            if preferred is not None and model.key == preferred.name:
                return model
        return llms[0] if llms else None

    def _have(self, entry: Entry) -> Model | None:
        for model in self._models():
            if model.key == entry.name and model.error is None:  # keys of the catalog are reserved for its files
                return model
        return None

    def _entry(self, name: str | None) -> Entry | None:
        if name is not None:
            return self.catalog.find(name)
        if self.catalog.default is None:
            raise DownloadError("The catalog names no default model", suggestion="Give the name of a model")
        return self.catalog.default

    async def _share(
        self, entry: Entry, on_progress: OnProgress | None, on_finalizing: Callable[[], None] | None
    ) -> Model:
        fetch = self._fetches.get(entry.name)
        if fetch is None:
            fetch = self._fetches[entry.name] = _Fetch()
            fetch.task = asyncio.create_task(self._fetch(entry, fetch))
        assert fetch.task is not None
        if on_progress is not None:
            fetch.on_progress.append(on_progress)
        if on_finalizing is not None:
            fetch.on_finalizing.append(on_finalizing)
            if fetch.finalizing:
                _tell(on_finalizing)
        fetch.waiting += 1
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if on_progress is not None:
                fetch.on_progress.remove(on_progress)
            if on_finalizing is not None:
                fetch.on_finalizing.remove(on_finalizing)
            if not fetch.waiting and not fetch.task.done():
                self._forget(entry.name, fetch)  # who asks from now on starts anew
                fetch.task.cancel()
                await asyncio.gather(fetch.task, return_exceptions=True)

    def _forget(self, name: str, fetch: _Fetch) -> None:
        if self._fetches.get(name) is fetch:
            del self._fetches[name]

    async def _fetch(self, entry: Entry, fetch: _Fetch) -> Model:
        try:
            async with fetch_lock(self.home, entry.name):
                # Another process may have fetched it while this one waited.
                model = await asyncio.to_thread(self._have, entry)
                if model is None:
                    await download(entry, self.home, fetch.progress, fetch.finalize)
                    model = await asyncio.to_thread(self._have, entry)
        finally:
            self._forget(entry.name, fetch)
        if model is None:
            return await self.resolve(str(self.home.models / entry.file))  # tells what is wrong with it
        return model
