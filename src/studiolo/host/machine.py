"""What the machine has for models: main memory and GPUs."""

from __future__ import annotations

import contextlib
import functools
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from ..errors import UnsupportedError

DEVICES_LIMIT_SEC = 20.0
"""How long the native library may take to list the GPUs."""

CGROUP = Path("/sys/fs/cgroup")

# Where there is none of these, there is no GPU that the engine could use, and asking costs a fifth of a second.
_GPU_SIGNS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128", "/dev/dxg")


def device_name() -> str:
    """Return this machine's name."""
    return platform.node() or "localhost"


def check_device(identifier: str | None) -> None:
    """Raise :class:`UnsupportedError` if a request is for another device than this machine; ``None`` means this one."""
    if identifier in (None, device_name()):
        return
    raise UnsupportedError(
        f"There is no device {identifier!r} here: this host runs models on its own machine, {device_name()!r}, alone",
        suggestion="Leave deviceIdentifier out, or connect to the host of that device.",
        feature="deviceIdentifier",
        engine="studiolo",
    )


class Processor(Struct, frozen=True):
    """The processor: its name, its architecture (such as ``x86_64``), and the features that it advertises."""

    name: str
    architecture: str
    features: frozenset[str]


@functools.cache
def processor() -> Processor:
    """This machine's processor; asked once. What it advertises is known on Linux alone."""
    name, features = platform.processor() or platform.machine(), frozenset[str]()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                features = frozenset(value.split())
    return Processor(name, platform.machine(), features)


class Gpu(Struct, frozen=True):
    """A GPU that the engine can use."""

    name: str
    free_bytes: int
    total_bytes: int


def available_memory(loaded: Iterable[tuple[int | None, Path, int]] = ()) -> int:
    """Bytes of main memory that are free for one more model.

    That is what the system calls available (and a container's limit leaves), less what it does not know of: weights
    that a running engine has mapped count as available, because they could be read again; and what the engines are yet
    to fill of the memory that they were granted.

    Parameters:
        loaded: for each loaded model the process of its engine (``None`` before it has one), its file, and the bytes
            that it was estimated to take.
    """
    import psutil  # late: it takes its time to import

    free = int(psutil.virtual_memory().available)
    limit = _container_limit()
    if limit is not None:
        free = min(free, limit)
    mapped: dict[Path, int] = {}
    for pid, path, estimated in loaded:
        resident = shared = 0
        if pid is not None:
            with contextlib.suppress(psutil.Error):
                memory = psutil.Process(pid).memory_info()
                resident, shared = memory.rss, getattr(memory, "shared", 0)
        mapped[path] = max(mapped.get(path, 0), shared)
        free -= max(estimated - resident, 0)
    return max(free - sum(mapped.values()), 0)


def total_memory() -> int:
    """Bytes of main memory in all."""
    import psutil  # late: it takes its time to import

    return int(psutil.virtual_memory().total)


def _container_limit() -> int | None:
    """Bytes that the control group of this process leaves, where it has a limit (Linux, cgroup 2)."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(int(limit) - used + int(statistics.get("inactive_file", 0)), 0)
    except (OSError, ValueError):
        return None


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that the engine sees, in its order; asked once. Blocks: the native library is asked in a process of its
    own."""
    if sys.platform != "darwin" and not any(Path(sign).exists() for sign in _GPU_SIGNS):
        return ()
    command = [sys.executable, "-P", "-m", "studiolo.engines.llama_cpp.devices"]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEVICES_LIMIT_SEC, check=True
        )
        return msgspec.json.decode(answer.stdout, type=tuple[Gpu, ...])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError):
        return ()  # an engine that cannot even tell its devices will say why when it is started
