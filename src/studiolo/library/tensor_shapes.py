"""The shapes of the tensors of model files, which decide whether a LoRA adapter fits: read once, and stored."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import msgspec

from .gguf_file import read_header
from .state import State

Shapes = dict[str, tuple[int, ...]]
"""Shapes by the name of the tensor."""

_MAX_IN_MEMORY = 64

_decode = msgspec.json.Decoder(Shapes).decode


def read_shapes(path: Path) -> Shapes:
    """Return the shapes of the tensors of the file at ``path``, from its header. Blocks.

    Raises:
        ModelFileError: the file cannot be used.
        OSError: it is gone.
    """
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=_MAX_IN_MEMORY)
def _read(path: Path, _mtime_ns: int, _size: int) -> Shapes:
    return {tensor.name: tensor.shape for tensor in read_header(path, check=False).tensors}


class StoredShapes:
    """The shapes of files, from memory, else from the database, else from the file.

    Parameters:
        state: stores them for the next process.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: dict[str, tuple[int, int, Shapes]] = {}

    def of(self, path: Path) -> Shapes:
        """Return what :func:`read_shapes` does."""
        place, status = os.path.realpath(path), path.stat()
        version = status.st_size, status.st_mtime_ns
        known = self._known.get(place)
        if known is None or known[:2] != version:
            shapes = self._stored(place, version)
            if shapes is None:
                shapes = read_shapes(path)
                self._state.put_tensor_shapes(place, *version, msgspec.json.encode(shapes))
            if len(self._known) >= _MAX_IN_MEMORY:
                self._known.pop(next(iter(self._known)))
            known = self._known[place] = (*version, shapes)
        return known[2]

    def _stored(self, place: str, version: tuple[int, int]) -> Shapes | None:
        row = self._state.tensor_shapes(place)
        if row is None or row[:2] != version:
            return None
        try:
            return _decode(row[2])
        except (msgspec.DecodeError, TypeError):
            return None
