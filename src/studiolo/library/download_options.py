"""The download options of a model: its quantisations, their sizes, and which of them fit this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from ..errors import NotDownloadableError
from .catalog import Entry
from .download_references import HubReference, PathReference, WebReference
from .downloads import RemoteFile
from .hub import HubFile, HubFiles
from .model import base_key, split_name

Fit = Literal["fullGPUOffload", "partialGPUOffload", "fitWithoutGPU", "willNotFit"]

ROOM = 1.1
"""Memory that a model needs, as a multiple of its file's size: a rough rule, good enough for a choice."""

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)
_FULL_PRECISION = {"f16", "fp16", "bf16", "f32", "fp32"}


class DownloadOption(Struct, frozen=True, kw_only=True):
    """A model that can be downloaded, in one quantisation.

    Parameters:
        identifier: its name for ``Library.fetch``: ``owner/repo@q4_k_m``.
        name: its name for people.
        quantization: by the file's name, in upper case: ``Q4_K_M``.
        size_bytes: the size of all its files; 0 if it is not known.
        fit: whether it fits into this machine's memory, by a rough rule (:data:`ROOM` times its size).
        recommended: whether it is the recommended one. One option of a model is.
        files: its files: the one that stands for the model first, then its shards and its ``mmproj``.
    """

    identifier: str
    name: str
    quantization: str | None = None
    size_bytes: int = 0
    fit: Fit = "fitWithoutGPU"
    recommended: bool = False
    files: tuple[RemoteFile, ...]

    @property
    def fits(self) -> bool:
        """Whether it fits into this machine's memory."""
        return self.fit != "willNotFit"

    @property
    def path(self) -> str:
        """The path of the model, relative to the models folder."""
        return self.files[0].file

    @property
    def vision(self) -> bool:
        """Whether it includes a projector, for image input."""
        return any(_is_projector(file.file) for file in self.files)


class Memory(Struct, frozen=True):
    """The memory for a model, in bytes: what is available to programs, and what is free on GPUs."""

    ram: int
    vram: int = 0

    def fit(self, size_bytes: int) -> Fit:
        """Return whether and where a model of ``size_bytes`` fits."""
        needed = size_bytes * ROOM
        if self.vram and needed <= self.vram:
            return "fullGPUOffload"
        if needed > self.ram + self.vram:
            return "willNotFit"
        return "partialGPUOffload" if self.vram else "fitWithoutGPU"


def available_memory() -> Memory:
    """Return the memory that is available on this machine now. Blocks: GPUs are found with ``nvidia-smi``."""
    import psutil

    return Memory(psutil.virtual_memory().available, _free_vram())


def _free_vram() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    command = [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.split()
        return sum(int(line) for line in lines) << 20
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def of_entry(entry: Entry, memory: Memory) -> DownloadOption:
    """Return the option of a catalog entry."""
    file = RemoteFile(file=entry.file, sources=entry.sources, size_bytes=entry.size_bytes, sha256=entry.sha256)
    return DownloadOption(
        identifier=entry.name,
        name=entry.name,
        quantization=entry.quantization or _quantization(entry.file),
        size_bytes=entry.size_bytes or 0,
        fit=memory.fit(entry.size_bytes or 0),
        recommended=True,
        files=(file,),
    )


def of_path(reference: PathReference, memory: Memory) -> DownloadOption:
    """Return the option of a file on this machine: a copy of it, its other shards and the ``mmproj`` beside it.

    Raises:
        NotDownloadableError: the file, or one of its shards, does not exist.
    """
    path = reference.path
    if not path.is_file():
        raise NotDownloadableError(f"{path} is not a file", suggestion="Give the path of a GGUF file")
    names = [path.name, *(name for name in _shard_names(path.name) if name != path.name)]
    projectors = sorted(each.name for each in path.parent.glob("*.gguf") if _is_projector(each.name))
    files: list[RemoteFile] = []
    for name in names + projectors[:1]:
        each = path.with_name(name)
        if not each.is_file():
            raise NotDownloadableError(f"{each} is missing", cause=f"It is a part of the model in {path.name}")
        file = f"local/{base_key(path.name)}/{name}"
        source = {"type": "file", "path": str(each)}
        files.append(RemoteFile(file=file, sources=[source], size_bytes=each.stat().st_size))
    return _alone(str(path), path.name, files, memory)


def of_url(reference: WebReference, memory: Memory) -> DownloadOption:
    """Return the option of a web address, without a request to it."""
    parts = urlsplit(reference.url)
    name = PurePosixPath(unquote(parts.path)).name
    place = re.sub(r"[^\w.-]", "_", parts.netloc.rpartition("@")[2]).lstrip(".")
    files = [
        RemoteFile(
            file=f"{place}/{base_key(name)}/{each}",
            sources=[
                {"type": "https", "url": parts._replace(path=parts.path.replace(*_last_parts(name, each))).geturl()}
            ],
        )
        for each in _shard_names(name)
    ]
    return _alone(reference.url, name, files, memory)


def _last_parts(name: str, other: str) -> tuple[str, str]:
    """Return what to replace in the address of one shard, and by what, for the address of another shard."""
    ours, theirs = _SHARD.search(name), _SHARD.search(other)
    return (ours[0], theirs[0]) if ours and theirs else (name, name)


def _alone(identifier: str, name: str, files: Sequence[RemoteFile], memory: Memory) -> DownloadOption:
    size = sum(file.size_bytes or 0 for file in files)
    return DownloadOption(
        identifier=identifier,
        name=split_name(name)[0],
        quantization=_quantization(name),
        size_bytes=size,
        fit=memory.fit(size),
        recommended=True,
        files=tuple(files),
    )


def of_repository(reference: HubReference, listing: HubFiles, memory: Memory) -> list[DownloadOption]:
    """Return the options of a repository on the hub, smallest first: one for each of its models and quantisations.

    Raises:
        NotDownloadableError: the repository has no GGUF files, or not the requested quantisation or file.
    """
    files = [file for file in listing.files if _is_wanted(file.path)]
    models: dict[str, list[HubFile]] = defaultdict(list)
    for file in files:
        if not _is_projector(file.path):
            models[_SHARD.sub("", file.path)].append(file)
    projectors = [file for file in files if _is_projector(file.path)]
    complete = [
        sorted(shards, key=lambda file: file.path)
        for shards in models.values()
        if {PurePosixPath(file.path).name for file in shards} == set(_shard_names(PurePosixPath(shards[0].path).name))
    ]
    quantizations = [_quantization(shards[0].path) for shards in complete]
    options: list[DownloadOption] = []
    for shards, quantization in zip(complete, quantizations, strict=True):
        identifier = f"{reference.repo}/{shards[0].path}"
        if quantization is not None and quantizations.count(quantization) == 1:
            identifier = f"{reference.repo}@{quantization.lower()}"
        options.append(_of_files(reference, identifier, shards, projectors, listing, memory))
    options.sort(key=lambda option: (option.size_bytes, option.identifier))
    return _chosen(reference, recommend(options))


def _of_files(
    reference: HubReference,
    identifier: str,
    shards: Sequence[HubFile],
    projectors: Sequence[HubFile],
    listing: HubFiles,
    memory: Memory,
) -> DownloadOption:
    folder = PurePosixPath(reference.repo) / PurePosixPath(shards[0].path).parent
    files: list[RemoteFile] = []
    for file in [*shards, *_best_projector(projectors)]:
        source = {"type": "hf", "repo": reference.repo, "file": file.path}
        if reference.revision != "main":
            source["revision"] = reference.revision
        target = str(folder / PurePosixPath(file.path).name)
        files.append(RemoteFile(file=target, sources=[source], size_bytes=file.size, sha256=file.sha256))
    size = sum(file.size_bytes or 0 for file in files)
    quantization = _quantization(shards[0].path)
    return DownloadOption(
        identifier=identifier,
        name=split_name(PurePosixPath(shards[0].path).name)[0],
        quantization=quantization,
        size_bytes=size,
        fit=memory.fit(size),
        files=tuple(files),
    )


def _chosen(reference: HubReference, options: list[DownloadOption]) -> list[DownloadOption]:
    """Return those options that the reference names."""
    if not options:
        raise NotDownloadableError(
            f"{reference.repo} has no GGUF files",
            suggestion="Find one that has: studiolo search TERM (their names often end in -GGUF)",
        )
    if reference.file is not None:
        wanted = _SHARD.sub("", reference.file)
        found = [each for each in options if any(_SHARD.sub("", f.sources[0]["file"]) == wanted for f in each.files)]
    elif reference.quantization is not None:
        asked = reference.quantization.upper()
        found = [each for each in options if each.quantization == asked]
        found = found or [each for each in options if (each.quantization or "").removeprefix("UD-") == asked]
    else:
        return options
    if found:
        return found if any(each.recommended for each in found) else recommend(found)
    what = reference.file or reference.quantization
    there = ", ".join(dict.fromkeys(each.quantization or each.name for each in options))
    raise NotDownloadableError(
        f"{reference.repo} has no {what}",
        cause=f"It has {there}",
        suggestion=f"See them with: studiolo get {reference.repo}",
        data={"repo": reference.repo, "there": [each.identifier for each in options]},
    )


def recommended(options: Sequence[DownloadOption]) -> DownloadOption:
    """Return the option that is marked as recommended; the first where none is."""
    return next((each for each in options if each.recommended), options[0])


def recommend(options: list[DownloadOption]) -> list[DownloadOption]:
    """Mark the recommended option: Q4_K_M if it fits, else the largest quantised one that fits, else the largest that
    fits, else the smallest of all."""
    if not options:
        return []
    fitting = [each for each in options if each.fits]
    usual = [each for each in fitting if (each.quantization or "").removeprefix("UD-") == "Q4_K_M"]
    quantized = [each for each in fitting if each.quantization and each.quantization.lower() not in _FULL_PRECISION]
    if usual:
        best = usual[0]
    elif fitting:
        best = max(quantized or fitting, key=lambda each: each.size_bytes)
    else:
        best = min(options, key=lambda each: each.size_bytes)
    return [replace(each, recommended=each is best) for each in options]


def _shard_names(name: str) -> list[str]:
    """Return the names of all shards of the model of which ``name`` is a shard; ``name`` alone if it is not one."""
    match = _SHARD.search(name)
    if match is None:
        return [name]
    count = int(match[2])
    return [f"{name[: match.start()]}-{i:05}-of-{match[2]}{name[match.end() :]}" for i in range(1, count + 1)]


def _quantization(path: str) -> str | None:
    """Return the quantisation that the file's name says, else its folder's."""
    place = PurePosixPath(path)
    found = split_name(place.name)[1] or split_name(f"x-{place.parent.name}")[1]
    return found.upper() if found else None


def _is_projector(path: str) -> bool:
    return "mmproj" in PurePosixPath(path).name.lower()


def _best_projector(projectors: Sequence[HubFile]) -> list[HubFile]:
    """Return one projector: in half precision if there is one, as it is small and used for every image."""

    def rank(file: HubFile) -> tuple[int, str]:
        quantization = (_quantization(file.path) or "").lower()
        return (["f16", "fp16", "bf16", "q8_0"].index(quantization) if quantization in _RANKED else 9, file.path)

    return sorted(projectors, key=rank)[:1]


_RANKED = {"f16", "fp16", "bf16", "q8_0"}


def _is_wanted(path: str) -> bool:
    """Whether a file of a repository is a part of a model, and its name safe to write here."""
    place = PurePosixPath(path)
    if place.is_absolute() or any(part.startswith(".") or part != part.strip() for part in place.parts):
        return False
    return place.name.lower().endswith(".gguf") and "imatrix" not in place.name.lower()
