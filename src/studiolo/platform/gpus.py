"""Signs of GPUs."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DEVICE_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128", "/dev/dxg")
"""Linux: where none of these exists, there is no GPU that an engine could use."""


def may_have_gpus() -> bool:
    """Return whether this machine may have a GPU that an engine can use. It costs nothing to ask."""
    return sys.platform in ("darwin", "win32") or any(Path(file).exists() for file in DEVICE_FILES)


NVIDIA_SMI_LIMIT_SEC = 20.0

VULKAN_DRIVERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
SOFTWARE_DRIVERS = ("lvp", "llvmpipe", "swiftshader")
"""Vulkan's drivers that compute on the processor."""


@dataclass(frozen=True, kw_only=True)
class GpuHardware:
    """Signs of GPUs, apart from what an engine makes of them.

    Parameters:
        nvidia: the names of NVIDIA's GPUs; ``None`` without one.
        cuda: the version of CUDA that NVIDIA's driver supports; ``None`` where it does not answer.
        amd: whether there is a GPU of AMD's that computes.
        rocm: the version of ROCm; ``None`` where it is not installed.
        metal: whether the engine computes with Metal.
        vulkan: the GPU drivers for Vulkan; ``None`` without one, or without a GPU.
        glibc: the version of the C library; ``None`` where it is another one.
    """

    nvidia: str | None = None
    cuda: tuple[int, int] | None = None
    amd: bool = False
    rocm: tuple[int, int] | None = None
    metal: bool = False
    vulkan: str | None = None
    glibc: tuple[int, int] | None = None


def find_gpu_hardware(root: Path = Path("/")) -> GpuHardware:
    """Look for GPUs and their drivers. Runs nvidia-smi, where it is installed; blocks for a moment.

    Parameters:
        root: the folder that the system's files are in.
    """
    nvidia, cuda = _nvidia(root)
    return GpuHardware(
        nvidia=nvidia,
        cuda=cuda,
        amd=(root / "dev/kfd").exists(),
        rocm=_version(root / "opt/rocm/.info/version"),
        metal=sys.platform == "darwin" and platform.machine() == "arm64",
        vulkan=_vulkan(root),
        glibc=_glibc(),
    )


def _nvidia(root: Path) -> tuple[str | None, tuple[int, int] | None]:
    program = shutil.which("nvidia-smi")
    output = names = ""
    if program is not None:
        output, names = (_output(program, *options) for options in ((), ("--query-gpu=name", "--format=csv,noheader")))
    listed = ", ".join(line.strip() for line in names.splitlines() if line.strip())
    supported = re.search(r"CUDA (?:UMD )?Version: *(\d+)\.(\d+)", output)
    if listed and supported is not None:
        return listed, (int(supported[1]), int(supported[2]))
    return (listed or "its model is not known" if (root / "dev/nvidia0").exists() or listed else None), None


def _output(*command: str) -> str:
    """Return what a program writes; nothing where it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, timeout=NVIDIA_SMI_LIMIT_SEC, check=True)
        return done.stdout.decode(errors="replace")
    return ""


def _version(file: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        if (found := re.match(r"(\d+)\.(\d+)", file.read_text("utf-8", errors="replace"))) is not None:
            return int(found[1]), int(found[2])
    return None


def _vulkan(root: Path) -> str | None:
    if sys.platform == "win32":
        loader = Path(os.environ.get("SYSTEMROOT", "C:\\Windows"), "System32", "vulkan-1.dll")
        return loader.name if loader.exists() else None
    if not any((root / "dev/dri").glob("renderD*")) and not (root / "dev/dxg").exists():
        return None
    drivers = {file.name for folder in VULKAN_DRIVERS for file in (root / folder.lstrip("/")).glob("*.json")}
    named = sorted(name for name in drivers if not name.startswith(SOFTWARE_DRIVERS))
    return ", ".join(named) or None


def _glibc() -> tuple[int, int] | None:
    name, version = platform.libc_ver()
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if name == "glibc" and found else None
