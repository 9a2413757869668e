"""The programs and libraries that a build of llama-server needs, and how to install those that are missing."""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..errors import UnsupportedError
from ..platform.building import has_metal, package_manager
from ..platform.processes import run_child

Backend = Literal["cpu", "vulkan", "cuda", "rocm", "metal"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

CHECK_LIMIT_SEC = 60.0


@dataclass(frozen=True)
class Toolchain:
    """What a build runs: paths of programs.

    Parameters:
        cmake: CMake.
        generator: the build system that CMake writes for, in its words.
        c, cxx: the compilers.
        ccache: the compiler cache, which llama.cpp uses where it is on ``PATH``.
    """

    cmake: str
    generator: str
    c: str
    cxx: str
    ccache: bool = False


@dataclass(frozen=True)
class _Requirement:
    """Something that may be missing.

    Parameters:
        what: for people.
        debian, brew: the packages that contain it; empty where there is none.
        pypi: a wheel that contains it, too.
    """

    what: str
    debian: str = ""
    brew: str = ""
    pypi: str = ""


_CMAKE = _Requirement("cmake", "cmake", "cmake", "cmake")
_MAKE = _Requirement("ninja or make", "ninja-build", "ninja", "ninja")
_C = _Requirement("a C compiler (gcc or clang)", "gcc")
_CXX = _Requirement("a C++ compiler (g++ or clang++)", "g++")
_GLSLC = _Requirement("the shader compiler glslc", "glslc", "shaderc")
_SPIRV = _Requirement("the headers of SPIR-V (spirv/unified1/spirv.hpp)", "spirv-headers", "spirv-headers")
_VULKAN = _Requirement("the headers and the loader of Vulkan", "libvulkan-dev", "vulkan-headers vulkan-loader")
_NVCC = _Requirement("nvcc, the compiler of NVIDIA's CUDA toolkit (12.4 or later)")
_HIPCC = _Requirement("hipcc, the compiler of AMD's ROCm (6.1 or later)")
_MACOS = _Requirement("macOS with Xcode's command line tools")


async def find_toolchain(backend: Backend) -> Toolchain:
    """Return what a build for ``backend`` runs.

    Raises:
        UnsupportedError: something is missing; with what, and the command that installs it.
    """
    cmake, ninja, make = _program("cmake"), _program("ninja"), _program("make")
    c, cxx = _compiler("CC", ("cc", "gcc", "clang")), _compiler("CXX", ("c++", "g++", "clang++"))
    missing = [need for need, found in ((_CMAKE, cmake), (_MAKE, ninja or make), (_C, c), (_CXX, cxx)) if found is None]
    missing += await _missing_of(backend, c, cxx)
    if cmake is None or c is None or cxx is None or missing:
        raise _incomplete(backend, missing)
    generator = "Ninja" if ninja is not None else "Unix Makefiles"
    return Toolchain(cmake, generator, c, cxx, ccache=shutil.which("ccache") is not None)


async def _missing_of(backend: Backend, c: str | None, cxx: str | None) -> list[_Requirement]:
    """Return what a backend needs beside the compilers and is not here."""
    missing: list[_Requirement] = []
    match backend:
        case "cpu":
            pass
        case "metal":
            missing += [] if has_metal() else [_MACOS]
        case "cuda":
            missing += [] if _program("nvcc", ("/usr/local/cuda/bin",)) else [_NVCC]
        case "rocm":
            missing += [] if _program("hipcc", ("/opt/rocm/bin",)) else [_HIPCC]
        case "vulkan":
            missing += [] if _program("glslc") else [_GLSLC]
            if cxx is not None and not await _compiles(cxx, "#include <spirv/unified1/spirv.hpp>"):
                missing.append(_SPIRV)
            if c is not None and not await _compiles(c, "#include <vulkan/vulkan.h>", "-lvulkan"):
                missing.append(_VULKAN)
    return missing


def _program(name: str, folders: Sequence[str] = ()) -> str | None:
    """Return the path of a program: on ``PATH``, beside this Python (wheels put it there), or in ``folders``."""
    places = (None, sysconfig.get_path("scripts"), *folders)
    return next((found for place in places if (found := shutil.which(name, path=place))), None)


def _compiler(variable: str, names: Sequence[str]) -> str | None:
    named = os.environ.get(variable)
    return next((found for name in ([named] if named else names) if (found := _program(name))), None)


async def _compiles(compiler: str, line: str, *options: str) -> bool:
    """Return whether a program of one line can be compiled and linked."""
    with tempfile.TemporaryDirectory(prefix="studiolo-") as folder:
        source = Path(folder, "check.cpp" if "spirv" in line else "check.c")
        source.write_text(f"{line}\nint main(void) {{ return 0; }}\n", "utf-8")
        sdk = os.environ.get("VULKAN_SDK")
        places = [f"-I{sdk}/include", f"-L{sdk}/lib"] if sdk else []
        command = (compiler, str(source), *places, *options, "-o", str(Path(folder, "check")))
        try:
            status, _, _ = await run_child(*command, limit_sec=CHECK_LIMIT_SEC)
        except (TimeoutError, OSError):
            return False
    return status == 0


def _incomplete(backend: Backend, missing: Sequence[_Requirement]) -> UnsupportedError:
    suggestions: list[str] = []
    debian = " ".join(need.debian for need in missing if need.debian)
    brew = " ".join(need.brew for need in missing if need.brew)
    wheels = " ".join(need.pypi for need in missing if need.pypi)
    manager = package_manager()
    if manager == "brew":
        compilers = any(need in (_C, _CXX, _MACOS) for need in missing)
        suggestions += ["Run: xcode-select --install."] if compilers else []
        suggestions += [f"Run: brew install {brew}."] if brew else []
    elif debian and manager == "apt":
        suggestions.append(f"On Debian or Ubuntu, run: sudo apt-get install {debian}.")
    if wheels:
        suggestions.append(f"Or run: pip install {wheels}.")
    for need in missing:
        if need in (_NVCC, _HIPCC):
            maker = "NVIDIA" if need is _NVCC else "AMD"
            suggestions.append(f"Install {maker}'s toolkit from its own pages, and put its bin folder on PATH.")
    return UnsupportedError(
        f"llama-server cannot be built for {backend} here: {', '.join(need.what for need in missing)} missing",
        suggestion=" ".join(suggestions) or "Install them, and put them on PATH.",
        feature=f"build for {backend}",
    )


def backend_flags(backend: Backend) -> list[str]:
    """Return the options of CMake for a backend, so that no other one is built in beside the processor's.

    CUDA's kernels are compiled for the GPUs of this machine alone.
    """
    switches: dict[Backend, str] = {
        "vulkan": "GGML_VULKAN",
        "cuda": "GGML_CUDA",
        "rocm": "GGML_HIP",
        "metal": "GGML_METAL",
    }
    flags = [f"-D{switch}={'ON' if name == backend else 'OFF'}" for name, switch in switches.items()]
    if backend == "cuda":
        flags.append("-DCMAKE_CUDA_ARCHITECTURES=native")  # without it, every kernel is compiled for some eight of them
    return flags
