"""Models that clients have derived from others: another name, with settings of its own for the same weights."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from ..config import LoadConfig, PredictionConfig, explicit_fields
from ..errors import LocalFileError, StoredItemNotFoundError
from ..paths import writing_remedy
from ..struct_types import examined

_log = logging.getLogger("studiolo.host")

FOR_CHATS = ("system_prompt", "prompt_template")
"""Settings that have no effect on text that is continued as it is."""


class DerivedModel(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A name for a model, with settings of its own.

    Parameters:
        name: as its client wrote it.
        source: the model that it stands for.
        load: how it is loaded; what a request sets goes before it.
        prediction: how it generates; what a request sets goes before it.
        license: the text of its licence.
        created: when it was made, in seconds since 1970.
    """

    name: str
    source: str
    load: LoadConfig = msgspec.field(default_factory=LoadConfig)
    prediction: PredictionConfig = msgspec.field(default_factory=PredictionConfig)
    license: str = ""
    created: float = 0.0

    def settings(self, asked: PredictionConfig, *, is_chat: bool) -> PredictionConfig:
        """Return the settings of a prediction that asks for ``asked``."""
        own = explicit_fields(self.prediction)
        if not is_chat:
            own = {name: value for name, value in own.items() if name not in FOR_CHATS}
        return PredictionConfig(**{**own, **explicit_fields(asked)})

    def load_config(self, asked: LoadConfig) -> LoadConfig:
        """Return the settings of a load that asks for ``asked``."""
        return LoadConfig(**{**explicit_fields(self.load), **explicit_fields(asked)})


class DerivedModels:
    """The derived models of a home, in a JSON file, which is read again when it has changed.

    Parameters:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._models: dict[str, DerivedModel] = {}
        self._seen: tuple[int, int] | None = None
        self._lock = asyncio.Lock()

    def all(self) -> list[DerivedModel]:
        """Return all of them, by name."""
        return [self._current()[name] for name in sorted(self._current())]

    def get(self, name: str) -> DerivedModel | None:
        """Return the one called ``name``, in any case; ``None`` if there is none."""
        return self._current().get(name.casefold())

    async def put(self, model: DerivedModel) -> None:
        """Add a model, or replace the one of its name. Raise :class:`LocalFileError` if it cannot be written."""
        async with self._lock:
            await self._write({**self._current(), model.name.casefold(): model})

    async def delete(self, name: str) -> None:
        """Remove a model.

        Raises:
            StoredItemNotFoundError: there is none of that name.
            LocalFileError: the file cannot be written.
        """
        async with self._lock:
            left = {key: model for key, model in self._current().items() if key != name.casefold()}
            if len(left) == len(self._current()):
                raise StoredItemNotFoundError(f"There is no derived model {name!r}")
            await self._write(left)

    def _current(self) -> dict[str, DerivedModel]:
        try:
            status = self._path.stat()
        except OSError:
            self._models, self._seen = {}, None
            return self._models
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._seen:
            self._seen = stamp
            try:
                found = msgspec.json.decode(self._path.read_bytes(), type=examined(list[DerivedModel]))
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                _log.error("%s cannot be used, and its models are missing: %s", self._path, error)
                found = []
            self._models = {model.name.casefold(): model for model in found}
        return self._models

    async def _write(self, models: dict[str, DerivedModel]) -> None:
        data = msgspec.json.format(msgspec.json.encode(list(models.values())), indent=2)
        try:
            await asyncio.to_thread(self._replace, data)
        except OSError as error:
            raise LocalFileError(
                f"{self._path} cannot be written",
                cause=error.strerror or str(error),
                suggestion=writing_remedy(error, self._path.parent),
            ) from None

    def _replace(self, data: bytes) -> None:
        part = self._path.with_name(f"{self._path.name}.part")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)
