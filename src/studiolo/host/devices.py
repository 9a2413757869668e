"""The memory that is free for models: main memory, and the GPUs that an engine kind can use."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from ..engines.base import EngineKind
from ..engines.spec import Device, ProcessRef
from ..errors import EngineError
from .machine import available_memory, device_name, total_memory

MAIN_MEMORY = "main memory"

CACHE_SEC = 2.0
"""How long a list of GPUs may serve estimates: listing them takes 0.2 s. Loads always read it again."""

FACTS_SEC = 60.0
"""How long what hardly changes is not read again: the main memory, and which GPUs there are."""

_log = logging.getLogger("studiolo.devices")


@dataclass(frozen=True)
class Loaded:
    """What a loaded instance, or one that is loading, takes.

    Parameters:
        process: its engine's process; ``None`` before it has one.
        path: the model's file.
        main_bytes: the main memory that it was estimated to take.
        gpu_bytes: the memory of each GPU that it was estimated to take, by the GPU's name.
        loading: whether it has not filled its GPU memory yet.
    """

    process: ProcessRef | None
    path: Path
    main_bytes: int
    gpu_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    loading: bool = False


class Devices:
    """The devices of this machine. Their free memory is read for each load."""

    def __init__(self) -> None:
        self._reading = asyncio.Lock()
        self._read: dict[str, tuple[float, Sequence[Device]]] = {}
        self._main_memory = (-float("inf"), 0)

    def main_memory(self) -> int:
        """Return the bytes of main memory, or those of them that a container's limit grants."""
        read_at, total = self._main_memory
        if time.monotonic() - read_at > FACTS_SEC:
            total = total_memory()
            self._main_memory = time.monotonic(), total
        return total

    async def gpus(self, kind: EngineKind, max_age_sec: float = CACHE_SEC) -> Sequence[Device]:
        """Return the GPUs that ``kind`` can use.

        Where they cannot be listed, that is logged as a warning and none is returned; the next call tries again.

        Parameters:
            max_age_sec: how old their figures may be.
        """
        async with self._reading:
            read_at, gpus = self._read.get(kind.name, (-float("inf"), ()))
            if time.monotonic() - read_at <= max_age_sec:
                return gpus
            try:
                gpus = await kind.devices()
            except EngineError as error:
                _log.warning("%s: models are loaded without GPUs. %s", kind.name, error)
                self._read.pop(kind.name, None)
                return ()
            self._read[kind.name] = (time.monotonic(), gpus)
            return gpus

    async def free(
        self, kind: EngineKind, loaded: Sequence[Loaded] = (), max_age_sec: float = CACHE_SEC
    ) -> list[Device]:
        """Return main memory and the GPUs that ``kind`` can use, with what is free there beside ``loaded``."""
        here = device_name()
        taken = [
            (one.process.pid if one.process and one.process.node == here else None, one.path, one.main_bytes)
            for one in loaded
            if one.process is None or one.process.node == here
        ]
        free = await asyncio.to_thread(available_memory, taken)
        gpus = [
            replace(gpu, free_bytes=max(gpu.free_bytes - _promised(gpu, loaded), 0))
            for gpu in await self.gpus(kind, max_age_sec)
        ]
        return [Device(name=MAIN_MEMORY, free_bytes=free, total_bytes=total_memory(), gpu=False), *gpus]


def _promised(gpu: Device, loaded: Sequence[Loaded]) -> int:
    """Return the bytes of ``gpu`` that loads under way have been granted."""
    return sum(one.gpu_bytes.get(gpu.name, 0) for one in loaded if one.loading)
