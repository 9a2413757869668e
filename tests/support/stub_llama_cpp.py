"""A stub of llama.cpp's source: a CMake project whose target is a program that becomes another llama-server.

Compiling the real one takes many minutes: ``make runtimes`` does that.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_CMAKE = """cmake_minimum_required(VERSION 3.14)
set(CMAKE_C_COMPILER_FORCED TRUE) # saves its trials
project(stub C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_executable(llama-server main.c more.c)
target_compile_definitions(llama-server PRIVATE REAL="${REAL_SERVER}")
"""

_MAIN = """#include <unistd.h>
int main(int count, char **arguments) {
    (void)count;
    arguments[0] = REAL;
    execv(REAL, arguments);
    return 127;
}
"""

needs_tools = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("cc") and shutil.which("c++")), reason="needs cmake and a compiler"
)


def stub_source(folder: Path, more: str = "int more = 1;\n") -> Path:
    """Write the project into ``folder``, with ``more`` as its second source file, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "CMakeLists.txt").write_text(_CMAKE)
    (folder / "main.c").write_text(_MAIN)
    (folder / "more.c").write_text(more)
    return folder


def becoming(binary: Path) -> tuple[str, ...]:
    """Return the options of CMake with which the program becomes ``binary``."""
    return (f"-DREAL_SERVER={binary}",)
