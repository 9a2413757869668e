"""Models of other programs: LM Studio's folder, the cache of the Hugging Face hub, Ollama's store. Read only."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from ..paths import Home
from ..settings import Program
from .file_stamps import FileStamps
from .scan import File, found_file, scan

PROGRAM_NAMES: dict[Program, str] = {"lmstudio": "LM Studio", "huggingface": "Hugging Face", "ollama": "Ollama"}
"""Their names for people."""

_OLLAMA_SERVICE = Path("/usr/share/ollama/.ollama/models")  # where Ollama's Linux service keeps them
_MODEL_LAYER = "application/vnd.ollama.image.model"
_PROJECTOR_LAYER = "application/vnd.ollama.image.projector"
_MAX_MANIFEST = 1 << 20


def further_folder(home: Home, name: str) -> Path:
    """Return the folder that an entry of ``library.folders`` in the settings means."""
    folder = Path(name)
    with contextlib.suppress(RuntimeError):  # "~nobody": there is no such user
        folder = folder.expanduser()
    return home.root / folder


def program_folders(program: Program) -> list[Path]:
    """Return the existing folders in which ``program`` keeps models on this machine."""
    try:
        return [folder for folder in _PROGRAMS[program][0]() if is_folder(folder)]
    except RuntimeError:  # the user has no home folder
        return []


def unreadable_folders(program: Program) -> list[Path]:
    """Return the folders of ``program`` that this user may not look into: they count as empty."""
    try:
        return [folder for folder in _PROGRAMS[program][0]() if may_not_read(folder)]
    except RuntimeError:
        return []


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder, as far as this user may see."""
    try:
        return path.is_dir()
    except OSError:  # it may not be looked into, or its network drive does not answer
        return False


def may_not_read(folder: Path) -> bool:
    """Whether this user may not look into ``folder``."""
    try:
        return folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)
    except OSError:
        return True


def program_files(program: Program, folder: Path, stamps: FileStamps) -> list[File]:
    """Return the models in one of the folders of ``program``; ``stamps`` keeps what was looked at."""
    return list(_PROGRAMS[program][1](folder, stamps))


def _lmstudio() -> Iterator[Path]:
    """Return the models folder of LM Studio's home (named by its pointer file, else in the current or the older
    place), and the folder for downloads that its settings name."""
    homes = [Path.home() / ".lmstudio", Path.home() / ".cache" / "lm-studio"]
    pointer = _text(Path.home() / ".lmstudio-home-pointer").strip()
    if pointer and is_folder(Path(pointer)):
        homes = [Path(pointer)]
    for home in homes:
        named = _object(home / "settings.json").get("downloadsFolder")
        if isinstance(named, str) and Path(named).is_absolute():
            yield Path(named)
        yield home / "models"


def _huggingface() -> Iterator[Path]:
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        yield Path(named).expanduser()
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser()
    yield Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser() / "hub"


def _ollama() -> Iterator[Path]:
    named = os.environ.get("OLLAMA_MODELS")
    if named:
        yield Path(named).expanduser()
        return
    yield Path.home() / ".ollama" / "models"
    yield _OLLAMA_SERVICE


def _lmstudio_files(folder: Path, stamps: FileStamps) -> list[File]:
    return scan(folder, "lmstudio", stamps)


def _huggingface_files(cache: Path, stamps: FileStamps) -> Iterator[File]:
    """Return the files under ``models--publisher--name/snapshots/REVISION/``, each from the newest of its revisions."""
    for repository in _folders(cache, stamps):
        if not repository.name.startswith("models--"):
            continue
        name = repository.name.removeprefix("models--").replace("--", "/")
        stamps.stat(repository / "refs" / "main")
        main = _text(repository / "refs" / "main").strip()
        revisions = sorted(
            _folders(repository / "snapshots", stamps), key=lambda path: (path.name == main, _mtime(path)), reverse=True
        )
        taken: set[str] = set()
        for revision in revisions:
            for file in scan(revision, "huggingface", stamps):
                if file.relative_path not in taken:
                    taken.add(file.relative_path)
                    yield file._replace(
                        relative_path=f"{name}/{file.relative_path}", publisher=name.rpartition("/")[0] or name
                    )


def _ollama_files(store: Path, stamps: FileStamps) -> Iterator[File]:
    """Return the weights that the manifests ``manifests/REGISTRY/NAMESPACE/NAME/TAG`` name among their blobs."""
    for registry in _folders(store / "manifests", stamps):
        for space in _folders(registry, stamps):
            for name in _folders(space, stamps):
                for manifest in _visible(name, stamps):
                    if file := _ollama_file(store, registry.name, space.name, name.name, manifest, stamps):
                        yield file


def _ollama_file(store: Path, registry: str, space: str, name: str, manifest: Path, stamps: FileStamps) -> File | None:
    stamps.stat(manifest)
    blobs: dict[str, Path] = {}
    layers: Any = _object(manifest).get("layers")
    for layer in cast("list[Any]", layers) if isinstance(layers, list) else []:
        entry = cast("dict[str, Any]", layer) if isinstance(layer, dict) else {}
        kind, digest = entry.get("mediaType"), entry.get("digest")
        if isinstance(kind, str) and isinstance(digest, str) and "/" not in digest:
            blobs.setdefault(kind, store / "blobs" / digest.replace(":", "-"))
    model = blobs.get(_MODEL_LAYER)
    if model is None:
        return None
    status = stamps.stat(model)
    if status is None:
        return None
    projector = blobs.get(_PROJECTOR_LAYER)
    return found_file(model, _ollama_name(registry, space, name, manifest.name), status, "ollama")._replace(
        publisher="ollama" if space == "library" else space,
        tag=manifest.name,
        projector=projector if projector is not None and stamps.stat(projector) is not None else None,
    )


def _ollama_name(registry: str, space: str, name: str, tag: str) -> str:
    """Return the name that Ollama itself uses: ``llama3.2:3b``, ``user/name:tag``, ``hf.co/user/name:tag``."""
    parts = [name] if space == "library" else [space, name]
    if registry != "registry.ollama.ai":
        parts = [registry, space, name]
    return f"{'/'.join(parts)}:{tag}"


_PROGRAMS: dict[Program, tuple[Callable[[], Iterator[Path]], Callable[[Path, FileStamps], Iterable[File]]]] = {
    "lmstudio": (_lmstudio, _lmstudio_files),
    "huggingface": (_huggingface, _huggingface_files),
    "ollama": (_ollama, _ollama_files),
}


def _visible(folder: Path, stamps: FileStamps) -> list[Path]:
    stamps.stat(folder)
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _folders(folder: Path, stamps: FileStamps) -> list[Path]:
    found = [(path, stamps.stat(path)) for path in _visible(folder, stamps)]
    return [path for path, status in found if status is not None and stat.S_ISDIR(status.st_mode)]


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_MANIFEST)
    except OSError:
        return ""


def _object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is none."""
    try:
        value: Any = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
