"""Notice that the files of a loaded model have changed: a mapped file that is cut short ends its engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import EngineError, ModelFileError
from ..library.adapters import Adapter
from ..library.model import Model


class _Stamp(NamedTuple):
    size_bytes: int
    modified_ns: int
    place: tuple[int, int]


class LoadedFiles:
    """The files of a model as they were before its engine started.

    Parameters:
        model_key: the model, for errors.
        paths: its files: weights, projector, draft model, LoRA adapters.
    """

    @classmethod
    def of(cls, model: Model, draft: Model | None, adapters: Sequence[Adapter] = ()) -> LoadedFiles:
        """Return the files of a model, its shards and projector, and of what it is loaded with, as they are now."""
        paths = [*model.parts, *(draft.parts if draft else ()), *(adapter.path for adapter in adapters)]
        if model.mmproj is not None:
            paths.append(model.mmproj)
        return cls(model.key, paths)

    def __init__(self, model_key: str, paths: Sequence[Path]) -> None:
        self._model_key = model_key
        self._stamps: dict[Path, _Stamp] = {}
        for path in paths:
            try:
                self._stamps[path] = _stamp(path)
            except OSError:  # the engine says what it cannot read
                continue

    def fault(self, end: EngineError) -> ModelFileError | None:
        """Return the error for a file that is not what it was; ``None`` if there is none, or a file is gone.

        An engine keeps a file open that is removed, so that this is no reason for its end.

        Parameters:
            end: how the engine ended, or why it does not start.
        """
        for path, before in self._stamps.items():
            try:
                now = _stamp(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                return self._error("can no longer be read", path, error.strerror or str(error), end)
            if now != before:
                return self._error("has changed since it was loaded", path, _difference(before, now), end)
        return None

    def _error(self, what: str, path: Path, why: str, end: EngineError) -> ModelFileError:
        return ModelFileError(
            f"A file of {self._model_key} {what}: {path}",
            cause=f"{why}. {end.title}.",
            suggestion="Put the file back, or unload the model and load it again.",
            data={"path": str(path)},
        )


def _stamp(path: Path) -> _Stamp:
    status = os.stat(path)  # noqa: PTH116 (errors other than a missing file are raised, too)
    return _Stamp(status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))


def _difference(before: _Stamp, now: _Stamp) -> str:
    if before.size_bytes != now.size_bytes:
        return f"It had {before.size_bytes:,} bytes, and has {now.size_bytes:,}"
    if before.place != now.place:
        return "Another file of the same size is in its place"
    return "It was modified"
