"""The library: all the models on disk, what they are called, and how to get more of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..domain.models import Domain
from ..errors import DownloadError, ModelNotFoundError, NotDownloadableError, PathNotFoundError
from ..paths import Home
from ..settings import LibrarySettings, SettingsFile
from . import download_options, download_references, hub, name_resolution, search
from .catalog import Catalog, Entry
from .download_options import DownloadOption
from .downloads import OnProgress, download
from .file_stamps import FileStamps
from .gguf_file import read_header
from .index import Index
from .model import Model
from .other_programs import further_folder, program_folders
from .scan import once_each
from .search import SearchResults
from .single_flight import Fetch, SharedFetches
from .snapshot import ModelFolder, Snapshot
from .state import State

_LAST_USED: dict[Domain, str] = {"llm": "last_used_model", "embedding": "last_used_embedding_model"}


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
        self._snapshot: Snapshot | None = None
        file = SettingsFile(home.settings)
        self._settings = settings or (lambda: file.current().library)
        self._catalog: tuple[tuple[int, int] | None, Catalog] | None = None
        self._fetches: SharedFetches[Model] = SharedFetches()

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

        Long lists (the vocabulary) are left out. Raises :class:`ModelNotFoundError` as :meth:`resolve` does.
        """

        def look() -> tuple[Model, dict[str, Any]]:
            model = self._resolve(name)
            return model, {} if model.error is not None else read_header(model.path).fields

        return await asyncio.to_thread(look)

    async def default(self, domain: Domain = "llm") -> Model | None:
        """The model of ``domain`` for those who name none: the one used last, else the catalog's default, else the
        first by key."""
        return await asyncio.to_thread(self._default, domain)

    async def remember_used(self, model: Model) -> None:
        """Take note that ``model`` was used: its key alone means this variant from now on, and no name at all means
        it too, where one of its domain is asked for."""
        await asyncio.to_thread(self._index.remember_used, model)
        if model.domain is not None:
            await asyncio.to_thread(self._state.remember, _LAST_USED[model.domain], str(model.path))

    async def search(self, term: str, limit: int = 20) -> SearchResults:
        """Look for models that can be fetched, in the catalog and on the hub.

        Parameters:
            term: words of the model's name.
            limit: how many to find at most, 1 to 200.

        A hub that cannot be reached is no error: the results have the catalog's models, and a note.
        """
        return await search.search(term, limit, self.catalog)

    async def download_options(self, name: str) -> list[DownloadOption]:
        """What can be fetched under ``name``, one of the options being recommended; the smallest first.

        Parameters:
            name: a name in the catalog, ``owner/repo`` or an address on the hub (each with ``@quantization`` or not),
                the address of a GGUF file on a web server, or the path of one on this machine.

        Raises:
            NotDownloadableError: the name is none of these, or the hub has nothing under it.
            DownloadError: the hub cannot be reached, refuses, or is switched off (``HF_HUB_OFFLINE``).
        """
        entry = self.catalog.find(name)
        reference = None if entry else self._variant(name) or download_references.parse(name)
        memory = await asyncio.to_thread(download_options.available_memory)
        if isinstance(reference, Entry):
            entry = reference
        if entry is not None:
            return [download_options.of_entry(entry, memory)]
        match reference:
            case download_references.HubReference():
                try:
                    listing = await hub.list_files(reference.repo, reference.revision)
                except hub.HubError as error:
                    missing = error.kind in ("no repository", "no revision")
                    kind = NotDownloadableError if missing else DownloadError
                    raise kind(
                        f"{reference.repo!r} was not found on the hub"
                        if missing
                        else f"{reference.repo!r} could not be looked up",
                        cause=error.reason,
                        data={"name": name, "kind": error.kind},
                    ) from error
                return download_options.of_repository(reference, listing, memory)
            case download_references.WebReference():
                return [download_options.of_url(reference, memory)]
            case download_references.PathReference():
                return [await asyncio.to_thread(download_options.of_path, reference, memory)]
            case _:
                models = await asyncio.to_thread(self._models)
                error = name_resolution.not_found(name, [], models, self.catalog)
                raise NotDownloadableError(error.title, cause=error.cause, suggestion=error.suggestion, data=error.data)

    async def downloaded(self, option: DownloadOption) -> Model | None:
        """The model that ``option`` has become, where all of it is in the library."""
        return await asyncio.to_thread(self._have, option)

    def is_fetching(self, option: DownloadOption) -> bool:
        """Whether this library fetches ``option`` now."""
        return option.path in self._fetches

    async def fetch_option(
        self,
        option: DownloadOption,
        on_progress: OnProgress | None = None,
        on_finalizing: Callable[[], None] | None = None,
    ) -> Model:
        """Fetch what :meth:`download_options` offered; one that is there already is returned at once.

        Those who ask for the same model share one download, in this process and in others. It is given up when the
        last one who waits for it is cancelled; what came of it is kept, and gone on from by the next.

        Parameters:
            option: what to fetch.
            on_progress: told how far it is, ten times a second at most, and once at 100 %.
            on_finalizing: told that all bytes are there and are being checked.

        Raises:
            DownloadError: the model could not be fetched; it says what was tried, or that the disk is full.
            ModelFileError: what came is not a model that can be used.
        """
        here = await self.downloaded(option)
        if here is not None:
            return here

        async def work(fetch: Fetch[Model]) -> Model:
            name = option.identifier.partition("?")[0]  # what follows may be a secret of the address
            path = await download(name, option.files, self.home, fetch.progress, fetch.finalize)
            return await self.resolve(str(path))  # tells what is wrong with it, if anything is

        return await self._fetches.join(option.path, work, on_progress, on_finalizing)

    async def fetch(
        self,
        name: str | None = None,
        on_progress: OnProgress | None = None,
        on_finalizing: Callable[[], None] | None = None,
    ) -> Model:
        """Fetch a model: the recommended one of its :meth:`download_options`. Otherwise as :meth:`fetch_option`.

        Parameters:
            name: see :meth:`download_options`; ``None`` for the catalog's default LLM. The name of a model that is in
                the library does too.
            on_progress, on_finalizing: see :meth:`fetch_option`.

        Raises:
            ModelNotFoundError: nothing has that name.
            DownloadError: the model could not be looked up or fetched.
        """
        if name is None:
            default = self.catalog.default()
            if default is None:
                raise DownloadError("The catalog names no default model", suggestion="Give the name of a model")
            name = default.name
        elif not self.catalog.find(name) and not self._variant(name) and download_references.parse(name) is None:
            return await self.resolve(name)
        try:
            offered = await self.download_options(name)
        except DownloadError:
            with contextlib.suppress(ModelNotFoundError):
                return await self.resolve(name)  # it is here, so that the hub is not needed
            raise
        chosen = next((each for each in offered if each.recommended), offered[0])
        return await self.fetch_option(chosen, on_progress, on_finalizing)

    async def close(self) -> None:
        """Stop fetches that are under way and close the state."""
        await self._fetches.close()
        if self._owns_state:
            self._state.close()  # at once: an interpreter that is ending starts no more threads

    # What follows runs in threads.

    def _current(self) -> Snapshot:
        """Return the models as they are on disk now. The folders are scanned only if something has changed."""
        catalog = self.catalog
        settings = self._settings()
        folders = [ModelFolder(self.home.models, "home")]
        folders += [ModelFolder(further_folder(self.home, name), "folder") for name in settings.folders]
        folders += [
            ModelFolder(folder, program) for program in settings.programs for folder in program_folders(program)
        ]
        with self._lock:  # of two calls at once, the second uses what the first has read
            last_variants = self._index.last_variants()
            known = self._snapshot
            if (
                known is None
                or known.catalog is not catalog
                or known.folders != folders
                or known.last_variants != last_variants
                or not known.stamps.are_current()
            ):
                stamps = FileStamps()
                files = once_each(file for folder in folders for file in folder.files(stamps))
                reserved = {self.home.models / entry.file: entry.name for entry in catalog.values()}
                models = self._index.models(files, reserved, last_variants)
                known = Snapshot(models, catalog, folders, last_variants, stamps)
                self._snapshot = None if self._index.has_refused_files else known
        return known

    def _models(self) -> list[Model]:
        return list(self._current().models)

    def _resolve(self, name: str) -> Model:
        name = name.strip()
        current = self._current()
        path = Path(name)
        if name.startswith("~") and "/" in name:
            with contextlib.suppress(RuntimeError):  # "~nobody/": there is no such user
                path = path.expanduser()
        if path.is_absolute():
            return self._at(path, current)
        matches = current.names.matches(name)
        if len(matches) == 1:
            return matches[0].model
        raise name_resolution.not_found(name, matches, current.models, self.catalog)

    def _at(self, path: Path, current: Snapshot) -> Model:
        """Return the model at an absolute path: one of the library, or a file outside it, whose key is its path."""
        models = current.models
        try:
            real = path.resolve()
            path.stat()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL in the name
            data = name_resolution.path_data(str(path), models)
            raise PathNotFoundError(f"There is no file {path}", cause=str(error), data=data) from error
        found = current.by_path.get(path) or current.by_real_path.get(real)
        if found is not None:
            return found
        if not path.is_file():
            raise PathNotFoundError(
                f"{path} is not a file",
                suggestion="Give the path of a GGUF file",
                data=name_resolution.path_data(str(path), models),
            )
        with self._lock:
            return self._index.model_at(path)

    def _default(self, domain: Domain) -> Model | None:
        current = self._current()
        last = self._state.recall(_LAST_USED[domain])
        if last is not None:
            with contextlib.suppress(ModelNotFoundError):
                model = self._at(Path(last), current)
                if model.domain == domain:
                    return model
        preferred = self.catalog.default(domain)
        fitting = [model for model in current.models if model.domain == domain and model.selected]
        for model in fitting:
            if preferred is not None and model.key == preferred.key:
                return model
        return fitting[0] if fitting else None

    def _have(self, option: DownloadOption) -> Model | None:
        path = self.home.models / option.path
        for file in option.files:
            try:
                if file.size_bytes not in (None, (self.home.models / file.file).stat().st_size):
                    return None
            except OSError:
                return None
        model = self._current().by_path.get(path)
        return model if model is not None and model.error is None else None

    def _variant(self, name: str) -> Entry | download_references.HubReference | None:
        """What ``name@quantization`` means where ``name`` is in the catalog: the entry, or another one of its
        repository on the hub."""
        plain, at, quantization = name.strip().rpartition("@")
        entry = self.catalog.find(plain) if at else None
        if entry is None or entry.quantization.casefold() == quantization.casefold():
            return entry
        for source in entry.sources:
            if source["type"] == "hf":
                return download_references.HubReference(source["repo"], quantization=quantization.casefold())
        return None
