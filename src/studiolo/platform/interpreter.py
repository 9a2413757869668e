"""The Python that runs workers, and the places from which they import what this process imports."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from ..errors import EngineStartError

PACKAGE = __name__.rpartition(".platform")[0]
"""The name of the package: another one where it is a part of another package."""

VARIABLE = "STUDIOLO_PYTHON"
"""The environment variable that names the interpreter, for programs that are not run by one themselves."""

_RUN = (
    "import os, runpy, sys; _, name, paths, *rest = sys.argv; sys.argv[:] = [name, *rest]; "
    "sys.path += [each for each in paths.split(os.pathsep) if each and each not in sys.path]; "
    "runpy.run_path(name, run_name='__main__') if name.endswith('.py') else "
    "runpy.run_module(name, run_name='__main__', alter_sys=True)"
)
"""Imports neither from the current folder nor from the worker's, as ``python -P -m`` does, and then from the places
from which this process imports: an archive, a folder of ``pip install --target``."""


def python_command(worker: str, *arguments: str) -> list[str]:
    """Return the command that runs a worker in an interpreter of its own.

    Parameters:
        worker: a module below this package, such as ``engines.schemas.worker``, or the path of a file that ends in
            ``.py``.
        arguments: its arguments.

    Raises:
        EngineStartError: this program has no Python interpreter.
    """
    name = worker if worker.endswith(".py") else f"{PACKAGE}.{worker}"
    return [interpreter(), "-P", "-c", _RUN, name, os.pathsep.join(_places()), *arguments]


def interpreter() -> str:
    """Return the path of a Python interpreter of this version.

    Raises:
        EngineStartError: there is none: the program is frozen, or Python is embedded in it.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    if not getattr(sys, "frozen", False):
        if _is_python(sys.executable):
            return sys.executable
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for prefix in (sys.exec_prefix, sys.base_exec_prefix):
            for name in (f"bin/{version}", "bin/python3", "python.exe", "Scripts/python.exe"):
                if (candidate := Path(prefix, name)).is_file():
                    return str(candidate)
    raise EngineStartError(
        "This program has no Python interpreter, which runs the engines",
        cause=f"It is run by {sys.executable or 'nothing that Python knows'}",
        suggestion=f"Set {VARIABLE} to a Python of the same version that has studiolo's dependencies, or use a server.",
    )


def _is_python(path: str | None) -> bool:
    return bool(path) and re.match(r"(python|pypy)[\d.]*", Path(str(path)).name, re.IGNORECASE) is not None


def _places() -> list[str]:
    """Return the entries of ``sys.path`` without the folder of the script, unless the package itself lies there."""
    entries = [entry for entry in sys.path if entry]
    if not sys.flags.safe_path and sys.path and entries and sys.path[0] == entries[0]:
        root = os.path.abspath(entries[0])  # noqa: PTH100 - a path in an archive does not exist
        if not _own_place().startswith(root + os.sep) and not os.path.isfile(root):  # noqa: PTH113
            del entries[0]
    return entries


def _own_place() -> str:
    return os.path.abspath(__file__)  # noqa: PTH100
