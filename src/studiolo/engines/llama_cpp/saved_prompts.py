"""The files of prompts that engines have read: a folder for each model and its settings, of a bounded size.

A prompt is two files. ``ID.kv`` is what llama.cpp writes for a slot; ``ID.json`` has the text that it belongs to, its
size and its hash. Engines of several processes may share a folder: a file that another has deleted is no error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ...platform.features import has
from ...platform.file_status import can_be_read_by_others, is_own_folder
from ...struct_types import examined
from ..spec import EngineSpec, Node
from .noted_prompts import Prefix
from .params import scaled_adapters, worker_params

FORMAT = 1

DEFAULT_LIMIT = 4096 << 20
"""Bytes of all files together, where the home is private and the settings do not say."""

MAX_TEXT_BYTES = 16 << 20
"""The longest description that is read."""

UNFINISHED_SEC = 3600.0
"""The age at which a file that is not described is left over: its engine was ended while it wrote."""

SAMPLE_BYTES = 1 << 20
"""Bytes at either end of a model's file that, with its size and time, identify it."""

# Settings on which what is stored for a prompt does not depend.
_INDIFFERENT = {
    *("n_batch", "n_ubatch", "n_threads", "n_threads_batch", "n_parallel", "n_ctx_checkpoints", "cache_ram_mib"),
    *("load_mode", "gpu_ratio", "disabled_gpus", "main_gpu", "split_mode", "n_cpu_moe", "fit_params", "speculation"),
}


class SavedPrompt(msgspec.Struct, kw_only=True):
    """The description of a prompt on disk.

    Parameters:
        settings: the model and the settings that it belongs to.
        text: the prompt and its answer.
        prompt_length: how much of ``text`` is the prompt, in characters or tokens.
        tokens: how many tokens it has.
        size: the bytes of the other file.
        sha256: the hash of the other file.
    """

    format: int = FORMAT
    settings: str
    id: str
    text: Prefix
    prompt_length: int
    tokens: int
    size: int
    sha256: str


def size_limit(node: Node) -> int:
    """Return the bytes that prompts on disk may take; 0 for off, which is the default unless the home is private."""
    chosen = node.settings().saved_prompts_mib
    if chosen is not None:
        return chosen << 20
    home = node.prompts.parent if node.prompts else None
    if home is None or not has("file-modes") or not is_own_folder(home) or can_be_read_by_others(home.lstat()):
        return 0
    return DEFAULT_LIMIT


class SavedPrompts:
    """The prompts on disk of one model with one set of settings.

    Parameters:
        root: the folder of all prompts on disk.
        settings: identifies the model and the settings.
        limit: the bytes of everything below ``root``.
    """

    def __init__(self, root: Path, settings: str, limit: int) -> None:
        self.root = root
        self.settings = settings
        self.limit = limit
        self.folder = root / settings

    @classmethod
    def of(cls, node: Node, spec: EngineSpec, engine: str) -> SavedPrompts | None:
        """Return the prompts for an engine that is about to start; ``None`` where they are off, or no use.

        Where they are off, those on disk are deleted.

        Parameters:
            engine: its name and version.
        """
        if node.prompts is None:
            return None
        limit = size_limit(node)
        if limit == 0:
            if node.prompts.exists():
                cls(node.prompts, "", 0).prune()
            return None
        if spec.domain != "llm" or spec.files.draft is not None or spec.config.speculative_draft_mtp:
            return None  # a draft model's own state is not written
        with contextlib.suppress(OSError):
            saved = cls(node.prompts, _identity(node, spec, engine), limit)
            saved.make_folder()
            saved.prune()
            return saved
        return None

    def make_folder(self) -> None:
        """Make the folder, for its owner alone. Raises :class:`OSError`."""
        for folder in (self.root, self.folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            if not is_own_folder(folder):
                raise PermissionError(f"{folder} is not this user's folder")
            folder.chmod(0o700)

    def load(self) -> list[SavedPrompt]:
        """Return the descriptions, the one used last at the end. Files that are damaged, or foreign, are deleted."""
        found: list[tuple[float, SavedPrompt]] = []
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(OSError):
                if (saved := self._read(path)) is None:
                    self.delete(path.stem)
                else:
                    found.append((path.stat().st_mtime, saved))
        return [saved for _, saved in sorted(found, key=lambda each: each[0])]

    def _read(self, path: Path) -> SavedPrompt | None:
        if path.is_symlink() or path.stat().st_size > MAX_TEXT_BYTES:
            return None
        try:
            saved = msgspec.json.decode(path.read_bytes(), type=examined(SavedPrompt))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        belongs = (saved.format, saved.settings, saved.id) == (FORMAT, self.settings, path.stem)
        data = self.data(saved.id)
        if not belongs or data.is_symlink() or not data.is_file() or data.stat().st_size != saved.size:
            return None
        return saved

    def data(self, name: str) -> Path:
        """Return the path of the engine's file of a prompt."""
        return self.folder / f"{name}.kv"

    def part(self, name: str) -> Path:
        """Return the path that the engine writes to."""
        return self.folder / f"{name}.part"

    def is_sound(self, name: str) -> bool:
        """Return whether the files of a prompt are as they were written; if not, delete them."""
        with contextlib.suppress(OSError):
            path = self.folder / f"{name}.json"
            saved = self._read(path)
            if saved is not None and _sha256(self.data(name)) == saved.sha256:
                os.utime(path)
                return True
        self.delete(name)
        return False

    def commit(self, name: str, text: Prefix, prompt_length: int, tokens: int) -> bool:
        """Put what the engine has written in its place, and delete the oldest over the limit. Return whether it stays.

        Raises:
            OSError: it cannot be written.
        """
        part = self.part(name)
        part.chmod(0o600)
        size = part.stat().st_size
        if size > self.limit:
            part.unlink()
            return False
        saved = SavedPrompt(
            settings=self.settings,
            id=name,
            text=text,
            prompt_length=prompt_length,
            tokens=tokens,
            size=size,
            sha256=_sha256(part),
        )
        description = self.folder / f"{name}.{os.getpid()}.new"
        descriptor = os.open(description, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(saved))
        part.replace(self.data(name))
        description.replace(self.folder / f"{name}.json")
        self.prune()
        return True

    def delete(self, name: str) -> None:
        """Delete the files of a prompt."""
        for path in (self.folder / f"{name}.json", self.data(name), self.part(name)):
            with contextlib.suppress(OSError):
                path.unlink()

    def prune(self) -> None:
        """Delete what is left over, and of all models' prompts those used longest ago, until the limit is kept."""
        prompts: list[tuple[float, int, list[Path]]] = []
        for folder in self.root.iterdir():
            if not is_own_folder(folder):
                continue
            for path in sorted(folder.iterdir()):
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    data = path.with_suffix(".kv")
                    if path.suffix == ".json" and data.exists():
                        size = status.st_size + data.lstat().st_size
                        prompts.append((status.st_mtime, size, [path, data]))
                    elif not path.with_suffix(".json").exists() and (
                        self.limit == 0 or time.time() - status.st_mtime > UNFINISHED_SEC
                    ):
                        path.unlink()
        total = sum(size for _, size, _ in prompts)
        for _, size, paths in sorted(prompts, key=lambda each: each[0]):
            if total <= self.limit:
                break
            for path in paths:
                with contextlib.suppress(OSError):
                    path.unlink()
            total -= size
        for folder in self.root.iterdir():
            if folder != self.folder:
                with contextlib.suppress(OSError):  # not empty; an engine whose folder is gone makes another
                    folder.rmdir()


def _identity(node: Node, spec: EngineSpec, engine: str) -> str:
    """Return what stands for the engine, the model's files and the settings that the stored state depends on."""
    params = worker_params(spec.config, spec.domain, spec.layers)
    files = [spec.files.model, *([spec.files.projector] if spec.files.projector else [])]
    known = {
        "format": FORMAT,
        "engine": engine,
        "params": {name: value for name, value in params.items() if name not in _INDIFFERENT},
        "context": spec.config.context_length,
        "files": [list(_identify(file.locate(node.models))) for file in files],
        "adapters": [[*_identify(path), scale] for path, scale in scaled_adapters(spec, node.models)],
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


def _identify(path: Path) -> Iterator[str | int]:
    status = path.stat()
    with path.open("rb") as file:
        sample = hashlib.sha256(file.read(SAMPLE_BYTES))
        file.seek(max(0, status.st_size - SAMPLE_BYTES))
        sample.update(file.read(SAMPLE_BYTES))
    yield from (status.st_size, status.st_mtime_ns, sample.hexdigest())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
