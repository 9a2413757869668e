"""The library: the models on disk, their names, and downloads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..domain.models import Domain
from ..errors import DownloadError, ModelNotFoundError, NotDownloadableError, PathNotFoundError
from ..paths import Home
from ..settings import Settings, SettingsFile
from . import download_options, download_references, hub, name_resolution, search
from .adapters import Adapter
from .catalog import Catalog, Entry
from .disk_threads import DiskThreads
from .download_options import DownloadOption
from .downloads import OnProgress, download
from .file_stamps import FileStamps
from .gguf_file import read_header
from .index import Index
from .model import Model, as_domain
from .name_resolution import NameIndex
from .other_programs import further_folder, program_folders
from .scan import once_each
from .search import SearchResults
from .single_flight import Flight, SingleFlight
from .snapshot import ModelFolder, Snapshot
from .state import State

_LAST_USED: dict[Domain, str] = {"llm": "last_used_model", "embedding": "last_used_embedding_model"}


class Library:
    """The models under ``home.models``, in the further folders of the settings, and those of other programs.

    Use it from one event loop, which it never blocks.

    Parameters:
        home: the home with the models folder.
        state: the state to use; by default the home's own, which :meth:`close` closes.
        settings: returns the settings in force; by default those of the home's settings file.
    """

    def __init__(self, home: Home, state: State | None = None, settings: Callable[[], Settings] | None = None) -> None:
        self.home = home
        self.state = state or State(home.state)
        self._owns_state = state is None
        self._threads = DiskThreads()
        self._index = Index(self.state, home)
        self._snapshot: Snapshot | None = None
        self._seen_current = 0.0
        file = SettingsFile(home.settings)
        self._settings = settings or file.current
        self._names = NameIndex([])
        self._catalog: tuple[tuple[int, int] | None, Catalog] | None = None
        self._downloads: SingleFlight[Model] = SingleFlight()

    @property
    def known_names(self) -> NameIndex:
        """The names of the models as they were when the library last looked at them. Never blocks."""
        return self._names

    @property
    def catalog(self) -> Catalog:
        """The models that can be downloaded. It is read again when the user's file changes.

        Raises:
            ConfigError: the user's file is not a valid catalog.
        """
        stamp = None
        with contextlib.suppress(OSError):
            status = self.home.catalog.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        if self._catalog is None or self._catalog[0] != stamp:
            self._catalog = (stamp, Catalog.load(self.home.catalog))
        return self._catalog[1]

    async def models(self) -> list[Model]:
        """Return the models on disk, all variants included, sorted by key. Unusable models have an ``error``.

        Raises:
            ConfigError: the user's catalog or the settings file is not valid.
        """
        return await self._threads.look_up(self._models)

    async def resolve(self, name: str) -> Model:
        """Return the model that ``name`` means.

        Parameters:
            name: in any case: a key or ``publisher/name``, both also with ``@quantization``; a path relative to the
                models folder; the absolute path of any GGUF file; or an unambiguous beginning of one of these. A name
                of several variants of one model means the one that was used last, else the best one.

        Raises:
            ModelNotFoundError: no model has the name, or several have.
            ModelFileError: the model's file cannot be used.
        """
        model = await self._threads.look_up(self._resolve, name, time.monotonic())
        if model.error is not None:
            raise self._index.failure(model)
        return model

    async def adapter(self, name: str) -> Adapter:
        """Return the LoRA adapter that ``name`` means. Names and errors: see :meth:`resolve`."""
        return await self._threads.look_up(lambda: self._index.adapter(self._resolve(name)))

    async def describe(self, name: str) -> tuple[Model, dict[str, Any]]:
        """Return the model that ``name`` means, usable or not, and the fields of its file's header.

        Long lists (the vocabulary) are left out.

        Raises:
            ModelNotFoundError: no model has the name, or several have.
        """

        def look() -> tuple[Model, dict[str, Any]]:
            model = self._resolve(name)
            return model, {} if model.error is not None else read_header(model.path).fields

        return await self._threads.look_up(look)

    async def default(self, domain: Domain = "llm") -> Model | None:
        """Return the model of ``domain`` for requests without a name: the one used last, else the catalog's default,
        else the first by key."""
        return await self._threads.look_up(self._default, domain)

    async def remember_used(self, model: Model) -> None:
        """Store that ``model`` was used last: its group means this variant from now on, and requests of its domain
        without a name mean this model."""
        await self._threads.look_up(self._index.remember_used, model)
        if model.domain is not None:
            await self._threads.look_up(self.state.remember, _LAST_USED[model.domain], self._index.place_of(model))

    async def search(self, term: str, limit: int = 20) -> SearchResults:
        """Search for models to download, in the catalog and on the hub.

        If the hub cannot be reached, the results have the models of the catalog and a note.

        Parameters:
            term: words of the model's name.
            limit: the maximum number of results, 1 to 200.
        """
        return await search.search(term, limit, self.catalog)

    async def download_options(self, name: str) -> list[DownloadOption]:
        """Return the download options of ``name``, smallest first. One of them is recommended.

        Parameters:
            name: a name in the catalog, ``owner/repo`` or an address on the hub (also with ``@quantization``),
                the address of a GGUF file on a web server, or the path of one on this machine.

        Raises:
            NotDownloadableError: the name is none of these, or the hub has nothing under it.
            DownloadError: the hub cannot be reached, refuses access, or is disabled (``HF_HUB_OFFLINE``).
        """
        entry = self.catalog.find(name)
        reference = None if entry else self._variant(name) or download_references.parse(name)
        memory = await self._threads.step(download_options.available_memory)
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
                return [await self._threads.look_up(download_options.of_path, reference, memory)]
            case _:
                models = await self._threads.look_up(self._models)
                error = name_resolution.not_found(name, [], models, self.catalog)
                raise NotDownloadableError(error.title, cause=error.cause, suggestion=error.suggestion, data=error.data)

    async def downloaded(self, option: DownloadOption) -> Model | None:
        """Return the model of ``option``, if all its files are in the library."""
        return await self._threads.look_up(self._have, option)

    def is_fetching(self, option: DownloadOption) -> bool:
        """Whether this library is downloading ``option``."""
        return option.path in self._downloads

    async def fetch_option(
        self,
        option: DownloadOption,
        on_progress: OnProgress | None = None,
        on_finalizing: Callable[[], None] | None = None,
    ) -> Model:
        """Download one of the :meth:`download_options`. If the library has it already, return it at once.

        Calls for the same model share one download, in this process and with others. It stops when the last waiting
        call is cancelled; the partial files are kept, and the next call resumes them.

        Parameters:
            option: the option.
            on_progress: called with the progress, at most ten times a second, and once at 100 %.
            on_finalizing: called when all bytes have arrived and are being verified.

        Raises:
            DownloadError: the download failed; the error says what was tried, or that the disk is full.
            ModelFileError: the downloaded file is not a usable model.
        """
        here = await self.downloaded(option)
        if here is not None:
            return here

        async def work(flight: Flight[Model]) -> Model:
            name = option.identifier.partition("?")[0]  # the rest of an address may be secret
            path = await download(name, option.files, self.home, self._threads, flight.progress, flight.finalize)
            return await self.resolve(str(path))  # raises an error if it is not usable

        return await self._downloads.join(option.path, work, on_progress, on_finalizing)

    async def fetch(
        self,
        name: str | None = None,
        on_progress: OnProgress | None = None,
        on_finalizing: Callable[[], None] | None = None,
    ) -> Model:
        """Download the recommended one of a model's :meth:`download_options`, as :meth:`fetch_option` does.

        Parameters:
            name: see :meth:`download_options`; ``None`` for the catalog's default LLM. A name of a model in the
                library works too.
            on_progress, on_finalizing: see :meth:`fetch_option`.

        Raises:
            ModelNotFoundError: there is no model with that name.
            DownloadError: the options could not be looked up, or the download failed.
        """
        if name is None:
            default = self.catalog.default()
            if default is None:
                raise DownloadError("The catalog has no default model", suggestion="Give the name of a model")
            name = default.name
        elif not self.catalog.find(name) and not self._variant(name) and download_references.parse(name) is None:
            return await self.resolve(name)
        try:
            offered = await self.download_options(name)
        except DownloadError:
            with contextlib.suppress(ModelNotFoundError):
                return await self.resolve(name)  # it is in the library, so the hub is not needed
            raise
        return await self.fetch_option(download_options.recommended(offered), on_progress, on_finalizing)

    async def close(self) -> None:
        """Stop the downloads in progress, end the threads and close the state."""
        await self._downloads.close()
        self._threads.close()
        if self._owns_state:
            self.state.close()  # in this thread: at the end of the interpreter no thread can be started

    # These methods block. They run in the thread for look-ups.

    def _current(self, asked: float | None = None) -> Snapshot:
        """Return the models as they are on disk now. The folders are scanned only if something has changed.

        Parameters:
            asked: when the caller asked (``time.monotonic``): what was seen to be current after that still is, so that
                many callers at once share one look at the disk.
        """
        if asked is not None and self._snapshot is not None and self._seen_current > asked:
            return self._snapshot
        began = time.monotonic()
        catalog = self.catalog
        settings = self._settings().library
        knows_all = self._engine_knows_all()
        domains = self._settings().domains
        folders = [ModelFolder(self.home.models, "home")]
        folders += [ModelFolder(further_folder(self.home, name), "folder") for name in settings.folders]
        folders += [
            ModelFolder(folder, program) for program in settings.programs for folder in program_folders(program)
        ]
        last_variants = self._index.last_variants()
        known = self._snapshot
        if (
            known is None
            or known.catalog is not catalog
            or known.folders != folders
            or known.last_variants != last_variants
            or known.knows_all != knows_all
            or known.domains != domains
            or not known.stamps.are_current()
        ):
            stamps = FileStamps()
            files = once_each(file for folder in folders for file in folder.files(stamps))
            reserved = {self.home.models / entry.file: entry.name for entry in catalog.values()}
            models = self._index.models(files, reserved, last_variants, knows_all=knows_all)
            if domains and (set_for := name_resolution.domains_by_file(domains, NameIndex(models))):
                models = self._index.models(files, reserved, last_variants, set_for, knows_all=knows_all)
            known = Snapshot(models, catalog, folders, last_variants, domains, stamps, knows_all=knows_all)
            self._names = known.names
            self._snapshot = None if self._index.has_refused_files else known
        self._seen_current = began
        return known

    def _engine_knows_all(self) -> bool:
        """Whether the engine is another than the bundled one, and may know other architectures."""
        return not self._settings().engine.is_bundled

    def _models(self) -> list[Model]:
        return list(self._current().models)

    def _resolve(self, name: str, asked: float | None = None) -> Model:
        current = self._current(asked)
        if (exact := current.names.by_key(name)) is not None:
            return exact
        name = name.strip()
        path = Path(name)
        if name.startswith("~") and "/" in name:
            with contextlib.suppress(RuntimeError, ValueError):  # there is no such user, or cannot be one: "~\0/"
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
        domain = current.domains.get(str(path))
        model = self._index.model_at(path, knows_all=self._engine_knows_all())
        return model if domain is None else as_domain(model, domain)

    def _default(self, domain: Domain) -> Model | None:
        current = self._current()
        last = self.state.recall(_LAST_USED[domain])
        if last is not None:
            path = self.home.root / last
            model = current.by_path.get(path)
            if model is None:
                with contextlib.suppress(OSError, RuntimeError):
                    model = current.by_real_path.get(path.resolve())
            if model is not None and model.domain == domain:
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
        """Return what ``name@quantization`` means if ``name`` is in the catalog: the entry, or another file of its
        repository on the hub."""
        plain, at, quantization = name.strip().rpartition("@")
        entry = self.catalog.find(plain) if at else None
        if entry is None or entry.quantization.casefold() == quantization.casefold():
            return entry
        for source in entry.sources:
            if source["type"] == "hf":
                return download_references.HubReference(source["repo"], quantization=quantization.casefold())
        return None
