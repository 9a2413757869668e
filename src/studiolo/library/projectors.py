"""Choose the projector of a model: the file beside it that adds image or audio input."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import ModelFileError
from .gguf_file import Metadata
from .model import split_name
from .model_keys import Name
from .scan import File

_PROJECTOR_TYPES = ("f16", "bf16", "q8_0", "f32")


class Projectors(NamedTuple):
    """The projectors in the folder of a model that belong to it by their names."""

    chosen: Path | None = None
    vision: bool = False
    """Whether the chosen one is for images."""
    audio: bool = False
    """Whether it is for audio."""
    mentioned: tuple[Path, ...] = ()
    """All of them."""
    note: str | None = None
    """Which of them are not used, and why; ``None`` if all could be."""


NO_PROJECTOR = Projectors()


def candidates_for(file: File, name: Name, alone: bool, beside: list[File]) -> list[Path]:
    """Return the projectors that belong to the model in ``file`` by their names, the best first.

    A projector without a model's name belongs to the only model of a folder, or to all models of a model's own folder.

    Parameters:
        file: the model's file.
        name: the model's name.
        alone: whether the folder has no other model.
        beside: the projectors in the folder.
    """
    if file.projector is not None:
        return [file.projector]
    ranked: list[tuple[int, int, str, Path]] = []
    for candidate in beside:
        match = _likeness(candidate.path.name, name.base)
        if match or alone or (match is None and "/" in file.relative_path):
            quantization = split_name(candidate.path.name)[1] or ""
            kind = _PROJECTOR_TYPES.index(quantization) if quantization in _PROJECTOR_TYPES else len(_PROJECTOR_TYPES)
            ranked.append((-(match or 0), kind, candidate.path.name, candidate.path))
    return [path for *_, path in sorted(ranked)]


def choose_projector(
    candidates: list[Path], model: Metadata, contents: Mapping[Path, Metadata | ModelFileError]
) -> Projectors:
    """Return the first of ``candidates`` that fits ``model``, as far as the headers show."""
    unfit: list[str] = []
    for path in candidates:
        content = contents.get(path)  # of a file in another program's store, nothing is known
        if reason := _misfit(content, model):
            unfit.append(f"{path} is not used, so that the model takes no images or audio with it. {reason}.")
        else:
            vision = not isinstance(content, Metadata) or content.vision
            audio = isinstance(content, Metadata) and content.audio
            return Projectors(path, vision, audio, tuple(candidates), " ".join(unfit) or None)
    return Projectors(mentioned=tuple(candidates), note=" ".join(unfit) or None)


def _misfit(projector: Metadata | ModelFileError | None, model: Metadata) -> str | None:
    if projector is None:
        return None
    if isinstance(projector, ModelFileError):
        return str(projector.cause or projector.title).rstrip(".")
    if projector.fault is not None:
        return projector.fault.rstrip(".")
    made_for, width = projector.embedding_length, model.embedding_length
    if made_for and width and made_for != width:
        return f"It is made for a model whose embedding length is {made_for}, and this one's is {width}"
    return None


def _likeness(projector: str, base: str) -> int | None:
    """Return how many letters the names have in common: 0 for different ones, ``None`` if the projector's has none."""
    own = _letters(split_name(projector)[0].lower().replace("mmproj", "").replace("model", ""))
    wanted = _letters(base)
    if not own:
        return None
    return min(len(own), len(wanted)) if own in wanted or wanted in own else 0


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text)
