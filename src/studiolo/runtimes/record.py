"""The record of each llama-server that was added or built: a file in its folder under ``runtimes`` in the home."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from ..errors import ConfigError, LocalFileError
from ..paths import Home, writing_remedy
from ..struct_types import examined

FILE = "runtime.json"

RESERVED = {"llama.cpp", "llama-server", "bundled"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Build(Struct, frozen=True, kw_only=True):
    """How a binary was built.

    Parameters:
        source: the package and its version, or the path of the source.
        sha256: of the source's archive; ``None`` for a folder.
        backend: what it was built for.
        flags: the options of CMake.
        compiler: the version of the C++ compiler, in its words.
        seconds: how long it took.
    """

    source: str
    sha256: str | None
    backend: str
    flags: Sequence[str]
    compiler: str
    seconds: float


class Runtime(Struct, frozen=True, kw_only=True):
    """A llama-server that can be selected.

    Parameters:
        name: its name.
        binary: its path; relative to its folder where it was built here.
        version: in its own words.
        instruction_sets: those that it uses, in its own words.
        devices: the devices beside the processor that it found when it was added.
        llguidance: whether it holds answers to every JSON schema that the bundled engine does.
        size_bytes, changed_ns: of the file when it was added, so that another file in its place is noticed.
        build: how it was built; ``None`` where it was added.
    """

    name: str
    binary: str
    version: str
    instruction_sets: Sequence[str] = ()
    devices: Sequence[str] = ()
    llguidance: bool = False
    size_bytes: int = 0
    changed_ns: int = 0
    build: Build | None = None


def check_name(name: str) -> str:
    """Return ``name``, which a runtime may have.

    Raises:
        ConfigError: it may not.
    """
    if name in RESERVED or _NAME.fullmatch(name) is None or name.endswith(".") or name.rpartition(".")[2] == "part":
        raise ConfigError(
            f"A runtime cannot be called {name!r}",
            suggestion="Use up to 64 letters, digits, '-', '_' and '.', a letter or digit first;"
            f" not {', '.join(sorted(RESERVED))}.",
        )
    return name


def folder_of(home: Home, name: str) -> Path:
    """Return the folder of the runtime called ``name``."""
    return home.runtimes / name


def binary_of(home: Home, runtime: Runtime) -> Path:
    """Return the path of its binary."""
    return folder_of(home, runtime.name) / runtime.binary


def has_changed(home: Home, runtime: Runtime) -> bool | None:
    """Return whether another file is at the place of its binary; ``None`` where none is."""
    try:
        status = binary_of(home, runtime).stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) != (runtime.size_bytes, runtime.changed_ns)


def recorded(home: Home) -> list[Runtime]:
    """Return the runtimes of the home by name. A record that cannot be read counts as none."""
    found: list[Runtime] = []
    with contextlib.suppress(OSError):
        for file in sorted(home.runtimes.glob(f"*/{FILE}")):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                runtime = msgspec.json.decode(file.read_bytes(), type=examined(Runtime))
                if runtime.name == file.parent.name:
                    found.append(runtime)
    return found


def find(home: Home, name: str) -> Runtime:
    """Return the runtime called ``name``.

    Raises:
        ConfigError: there is none.
    """
    runtimes = recorded(home)
    for each in runtimes:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in runtimes)
    raise ConfigError(
        f"There is no runtime {name!r}",
        cause=f"Those in {home.runtimes} are: {names}." if names else f"There are none in {home.runtimes}.",
        suggestion="List all engines with: studiolo runtime ls.",
    )


def check_free(home: Home, name: str) -> None:
    """Raise :class:`ConfigError` if there is a runtime called ``name``."""
    if os.path.lexists(folder_of(home, name)):
        raise ConfigError(
            f"There is a runtime {name!r} already",
            suggestion=f"Remove it with: studiolo runtime remove {name}. Or choose another name with --name.",
        )


def write(folder: Path, runtime: Runtime) -> None:
    """Write the record of a runtime into ``folder``. Raises ``OSError``."""
    content = msgspec.json.format(msgspec.json.encode(runtime), indent=2)
    part = folder / f"{FILE}.part"
    part.write_bytes(content)
    part.replace(folder / FILE)


def keep(home: Home, runtime: Runtime, folder: Path | None = None) -> None:
    """Make ``runtime`` one of the home's.

    Parameters:
        folder: a folder on the same file system that has its files, and becomes its folder; ``None`` for the record
            alone.

    Raises:
        ConfigError: its name is taken.
        LocalFileError: the home is not writable.
    """
    check_free(home, runtime.name)
    half = folder or home.runtimes / f"{runtime.name}.part"
    try:
        half.mkdir(parents=True, exist_ok=True)
        write(half, runtime)
        half.rename(folder_of(home, runtime.name))  # complete, or not there
    except OSError as error:
        raise _unwritable(home, error) from None


def work_folder(home: Home, name: str) -> Path:
    """Return the folder in which a runtime of this name is built."""
    return home.runtimes / f".build-{name}"


def remove(home: Home, name: str) -> None:
    """Remove the runtime called ``name``, and what an interrupted build of it has left; of an added one the record.

    Raises:
        ConfigError: there is none.
        LocalFileError: its files cannot be deleted.
    """
    check_name(name)
    folder, work = folder_of(home, name), work_folder(home, name)
    if not work.exists():
        find(home, name)
    try:
        (folder / FILE).unlink(missing_ok=True)  # from here on it is none any more
        for each in (folder, work):
            if each.exists():
                shutil.rmtree(each)
    except OSError as error:
        raise _unwritable(home, error) from None


def _unwritable(home: Home, error: OSError) -> LocalFileError:
    return LocalFileError(
        f"{home.runtimes} cannot be written to",
        cause=error.strerror or str(error),
        suggestion=writing_remedy(error, home.runtimes),
    )
