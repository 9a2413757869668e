"""All the models on disk, by name."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..errors import DownloadError, ModelFileError, ModelNotFoundError
from ..paths import Home
from . import downloads
from .catalog import Catalog
from .downloads import OnFinalizing, OnProgress
from .gguf_file import Metadata, read_metadata
from .model import Model, assign_keys, is_model_file
from .state import State

LAST_USED = "last_used_model"
MAX_DEPTH = 12
"""Folders below the models folder that are looked into; symbolic links make loops possible."""


class _Kept(msgspec.Struct):
    """What is kept of a file between runs: its metadata, or why it has none."""

    metadata: Metadata | None = None
    error: str | None = None


class Library:
    """The models under a home's models folder.

    Parameters:
        home: where they lie.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._state = State(home.state)
        self._catalog: Catalog | None = None
        self._fetches: dict[str, _Fetch] = {}

    @property
    def catalog(self) -> Catalog:
        """What can be fetched. Raises :class:`ConfigError` where the user's part of it is malformed."""
        if self._catalog is None:
            self._catalog = Catalog(self._home.catalog)
        return self._catalog

    async def models(self) -> list[Model]:
        """Every model on disk, by key; one that cannot be used says why in its ``error``."""
        return await asyncio.to_thread(self._scan)

    async def resolve(self, name: str) -> Model:
        """The model that ``name`` means: a key, ``publisher/key``, a path, or the unique beginning of a key.

        Raises:
            ModelNotFoundError: none, or more than one.
            ModelFileError: the file cannot be used.
        """
        model = await self._find(name)
        if model.error is not None:
            raise ModelFileError(f"The model {model.key} cannot be used", cause=model.error)
        return model

    async def default(self) -> Model | None:
        """The LLM to use when none is named: the last one used, else the catalog's default, else any."""
        usable = {model.key: model for model in await self.models() if model.error is None and model.domain == "llm"}
        last = await asyncio.to_thread(self._state.recall, LAST_USED)
        for key in (last, self.catalog.default.name):
            if key in usable:
                return usable[key]
        return next(iter(usable.values()), None)

    async def remember_used(self, model: Model) -> None:
        """Make ``model`` the one that :meth:`default` gives."""
        await asyncio.to_thread(self._state.remember, LAST_USED, model.key)

    async def fetch(
        self, name: str | None, on_progress: OnProgress, on_finalizing: OnFinalizing = lambda: None
    ) -> Model:
        """Fetch a model of the catalog, unless it is there. Many who ask at once share one fetch.

        Parameters:
            name: its name in the catalog; ``None`` for the catalog's default.
            on_progress: told of progress, about ten times a second.
            on_finalizing: told when all bytes are here and are being checked.

        Raises:
            ModelNotFoundError: the catalog has no such name.
            DownloadError: no source could be had; it says what was tried.
        """
        entry = self.catalog.default if name is None else self.catalog.get(name.lower())
        if entry is None:
            near = difflib.get_close_matches(str(name).lower(), self.catalog, n=3, cutoff=0.4)
            raise ModelNotFoundError(
                f"The catalog has no model {name!r}",
                cause=f"Near it: {', '.join(near)}." if near else None,
                suggestion=f"It has: {', '.join(self.catalog)}.",
            )
        fetch = self._fetches.get(entry.name)
        if fetch is None:
            fetch = self._fetches[entry.name] = _Fetch()
            work = downloads.fetch(entry, self._home, fetch.tell, fetch.tell_finalizing)
            fetch.task = asyncio.create_task(work, name=f"fetch {entry.name}")
            fetch.task.add_done_callback(lambda _: self._fetches.pop(entry.name, None))
        path = await fetch.join(on_progress, on_finalizing)
        for model in await self.models():
            if model.path == path:
                return await self.resolve(model.key)
        raise DownloadError(f"{path} was fetched and is not there any more")

    async def close(self) -> None:
        """Stop the fetches under way and close the state."""
        for fetch in list(self._fetches.values()):
            if fetch.task is not None:
                fetch.task.cancel()
                await asyncio.wait([fetch.task])
        self._state.close()

    async def _find(self, name: str) -> Model:
        models = await self.models()
        wanted = name.strip().lower()
        exact = [
            m for m in models if wanted in (m.key.lower(), m.name.lower(), f"{(m.publisher or '').lower()}/{m.key}")
        ]
        if len(exact) == 1:
            return exact[0]
        path = Path(name).expanduser()
        if path.suffix.lower() == ".gguf" and (path.is_absolute() or path.exists()):
            return await asyncio.to_thread(self._outside, path.absolute())
        begins = exact or [m for m in models if wanted and m.key.lower().startswith(wanted)]
        if len(begins) == 1:
            return begins[0]
        if begins:
            raise _not_found(name, f"It could be {', '.join(sorted(m.key for m in begins))}.", "Give the whole key.")
        raise self._unknown(name, models)

    def _unknown(self, name: str, models: list[Model]) -> ModelNotFoundError:
        if name.lower() in self.catalog:
            return _not_found(name, "It is in the catalog and not in the library.", f"Get it: studiolo get {name}.")
        known = {model.key: "" for model in models} | dict.fromkeys(self.catalog, " (studiolo get)")
        known |= {model.key: "" for model in models}
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        return _not_found(
            name,
            f"Near it: {', '.join(key + known[key] for key in near)}." if near else None,
            "studiolo ls shows the models in the library, studiolo get what can be fetched.",
        )

    def _outside(self, path: Path) -> Model:
        """A model that is named by its path, wherever it lies."""
        if not path.is_file():
            raise _not_found(str(path), "There is no such file.", "Check the path.")
        for model in self._scan():
            if model.path == path:
                return model
        metadata = read_metadata(path)
        key = next(iter(assign_keys([path.name]).values()))
        return Model(
            key=key, path=path, name=str(path), publisher=None, size_bytes=path.stat().st_size, metadata=metadata
        )

    def _scan(self) -> list[Model]:
        known = self._state.metadata()
        found = {path.relative_to(self._home.models).as_posix(): path for path in _model_files(self._home.models)}
        keys = assign_keys(found)
        models: list[Model] = []
        for name, path in found.items():
            with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                models.append(self._describe(keys[name], name, path, known))
        gone = [path for path in known if not Path(path).exists()]
        if gone:
            self._state.forget_metadata(gone)
        return sorted(models, key=lambda model: model.key)

    def _describe(self, key: str, name: str, path: Path, known: dict[str, tuple[int, int, bytes]]) -> Model:
        stat = path.stat()
        size, mtime_ns, kept = known.get(str(path), (-1, -1, b""))
        about: _Kept | None = None
        if (size, mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            with contextlib.suppress(msgspec.DecodeError):  # kept by another version
                about = msgspec.json.decode(kept, type=_Kept)
        if about is None:
            try:
                about = _Kept(metadata=read_metadata(path))
            except ModelFileError as error:
                about = _Kept(error=str(error))
            self._state.put_metadata(str(path), stat.st_size, stat.st_mtime_ns, msgspec.json.encode(about))
        parts = Path(name).parts
        return Model(
            key=key,
            path=path,
            name=name,
            publisher=parts[0] if len(parts) > 2 else None,
            size_bytes=stat.st_size,
            metadata=about.metadata,
            error=about.error,
        )


class _Fetch:
    """A fetch under way, and those who wait for it. It is given up when nobody waits any more."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Path] | None = None
        self._listeners: list[tuple[OnProgress, OnFinalizing]] = []

    async def join(self, on_progress: OnProgress, on_finalizing: OnFinalizing) -> Path:
        assert self.task is not None
        listener = (on_progress, on_finalizing)
        self._listeners.append(listener)
        try:
            return await asyncio.shield(self.task)
        finally:
            self._listeners.remove(listener)
            if not self._listeners and not self.task.done():
                self.task.cancel()
                await asyncio.wait([self.task])

    def tell(self, update: downloads.DownloadProgressUpdate) -> None:
        for on_progress, _ in self._listeners:
            on_progress(update)

    def tell_finalizing(self) -> None:
        for _, on_finalizing in self._listeners:
            on_finalizing()


def _model_files(folder: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:  # not there, or not ours to read
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if depth:
                yield from _model_files(entry, depth - 1)
        elif entry.suffix.lower() == ".gguf" and is_model_file(entry) and entry.is_file():
            yield entry


def _not_found(name: str, cause: str | None, suggestion: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"There is no model {name!r}",
        cause=cause,
        suggestion=suggestion,
        data={"query": {"identifier": name}, "loadedModelsSample": [], "totalLoadedModels": 0},
    )
