"""Which wheel or build uses the GPU of a machine. Source: the README of xllamacpp, "Installation"."""

from __future__ import annotations

from dataclasses import dataclass

from ...platform.gpus import GpuHardware

PACKAGE = "xllamacpp"

INDEX = "https://xorbitsai.github.io/xllamacpp/whl"

CUDA_WHEELS = (((13, 2), "cu132"), ((12, 8), "cu128"))
"""The version of CUDA that a driver has to support, and the wheels' index; the newest first."""

ROCM_WHEELS = ((7, "rocm-7.2.4"), (6, "rocm-6.4.1"))
"""The major version of ROCm, within which programs run on other versions, and the wheels' index."""

LEAST_GLIBC = (2, 35)
"""What the wheels for CUDA and ROCm are linked with."""


@dataclass(frozen=True)
class Advice:
    """What was found, and the command that makes use of it."""

    found: str
    remedy: str


def advise(hardware: GpuHardware, version: str) -> Advice | None:
    """Return how the GPU of a machine is put to use; ``None`` where there is none that needs another wheel.

    Parameters:
        hardware: what the machine has.
        version: of the wheel that is installed: one of the same version takes its place.
    """
    old_glibc = hardware.glibc is not None and hardware.glibc < LEAST_GLIBC
    if hardware.nvidia is not None:
        found = f"an NVIDIA GPU ({hardware.nvidia})"
        if hardware.cuda is None:
            return Advice(f"{found} without a working driver", "Install NVIDIA's driver, until nvidia-smi lists it.")
        found += f", whose driver supports CUDA {hardware.cuda[0]}.{hardware.cuda[1]}"
        if old_glibc:
            return Advice(f"{found}, with a C library older than 2.35", _build("cuda"))
        name = next((name for least, name in CUDA_WHEELS if hardware.cuda >= least), None)
        if name is None:
            return Advice(found, f"Update the driver to one for CUDA 12.8 or later, or: {_build('vulkan')}")
        return Advice(found, _install(name, version))
    if hardware.amd:
        found = "an AMD GPU"
        name = next((name for major, name in ROCM_WHEELS if hardware.rocm and hardware.rocm[0] == major), None)
        if hardware.rocm is not None:
            found += f" with ROCm {hardware.rocm[0]}.{hardware.rocm[1]}"
        if name is None:  # Vulkan needs the usual driver alone
            return Advice(found, f"{_install('vulkan', version)} Or install ROCm 7 for its wheel.")
        return Advice(found, _build("rocm") if old_glibc else _install(name, version))
    if hardware.vulkan is not None and not hardware.metal:
        return Advice(f"a GPU with Vulkan ({hardware.vulkan})", _install("vulkan", version))
    return None


def _install(name: str, version: str) -> str:
    return f"Run: pip install --force-reinstall --no-deps {PACKAGE}=={version} --index-url {INDEX}/{name}"


def _build(backend: str) -> str:
    return f"Run: studiolo runtime build --backend {backend}"
