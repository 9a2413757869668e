"""The shapes of the tensors of model files, which decide whether a LoRA adapter fits: read once, and stored."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

import msgspec

from ..struct_types import examined
from .gguf_file import read_header
from .state import State

Shapes = dict[str, tuple[int, ...]]
"""Shapes by the name of the tensor."""

_MAX_IN_MEMORY = 64

_decode = msgspec.json.Decoder(examined(Shapes)).decode


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
        self._of = functools.lru_cache(maxsize=_MAX_IN_MEMORY)(self._read)

    def of(self, path: Path) -> Shapes:
        """Return what :func:`read_shapes` does."""
        status = path.stat()
        return self._of(os.path.realpath(path), status.st_size, status.st_mtime_ns)

    def _read(self, place: str, size: int, mtime_ns: int) -> Shapes:
        row = self._state.tensor_shapes(place)
        if row is not None and row[:2] == (size, mtime_ns):
            with contextlib.suppress(msgspec.DecodeError, TypeError):
                return _decode(row[2])
        shapes = read_shapes(Path(place))
        self._state.put_tensor_shapes(place, size, mtime_ns, msgspec.json.encode(shapes))
        return shapes
