"""A model on disk, and what its file's name tells."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct
from msgspec.structs import force_setattr

from ..domain.models import Domain
from .gguf_file import Metadata
from .scan import Origin, without_shard

# Ends of file names that name a quantisation: Q4_K_M, IQ3_XS, UD-Q4_K_XL, i1-Q5_K_S, TQ1_0, BF16, MXFP4_MOE, ...
_QUANTIZATION = re.compile(
    r"""(?<=[^.\-_])[.\-_]+
    (?P<quantization>
        (?:ud-|i1-)?
        (?: i?q\d(?:_(?:k|nl|xxs|xs|s|m|l|xl|xxl|\d))*
          | tq\d_\d
          | (?:bf|fp?)16 | fp?32 | fp8
          | (?:mx|nv)fp4(?:_moe)?
        )
    )$""",
    re.VERBOSE,
)


class Model(Struct, frozen=True, kw_only=True):
    """A model on disk: one variant, where there are several of the same model.

    Parameters:
        key: the name that it goes by: unique in the library.
        group: the key of the model that it is a variant of; its own (the default) where there is but one.
        variant: its quantisation in lower case, or Ollama's tag; ``None`` where neither is known.
        variants: the keys of all variants, its own among them; empty where there is but one.
        selected: whether ``group`` means this variant.
        path: the GGUF file; the first shard of several.
        relative_path: ``publisher/name/file.gguf`` under the folder that it was found in; the absolute path of a file
            that is in none; Ollama's name of one in its store.
        origin: whose it is.
        display_name: its name without the quantisation, in words, for people.
        publisher: the first folder of ``relative_path``; empty where there is none.
        size_bytes: the size of all its files: shards and projector.
        parts: the file (the default), or those of its shards that are there.
        mmproj: the file beside it that lets it see images.
        vision: whether it takes images.
        metadata: what the file says of itself; ``None`` when it cannot be used.
        error: why the model cannot be used.
    """

    key: str
    group: str = ""
    variant: str | None = None
    variants: tuple[str, ...] = ()
    selected: bool = True
    path: Path
    relative_path: str
    origin: Origin = "path"
    display_name: str
    publisher: str
    size_bytes: int
    parts: tuple[Path, ...] = ()
    mmproj: Path | None = None
    vision: bool = False
    metadata: Metadata | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        if not self.group:
            force_setattr(self, "group", self.key)
        if not self.parts:
            force_setattr(self, "parts", (self.path,))

    @property
    def domain(self) -> Domain | None:
        """What the model is for; ``None`` when its file cannot be used."""
        return self.metadata.domain if self.metadata else None


def is_projector_name(name: str) -> bool:
    """Whether a file called ``name`` is a projector, which lets the model beside it see."""
    return "mmproj" in name.lower()


def is_model_file(name: str) -> bool:
    """Whether a file called ``name`` stands for a model: a GGUF file, but no projector and no later shard."""
    lower = name.lower()
    if not lower.endswith(".gguf") or is_projector_name(name):
        return False
    stem = lower.removesuffix(".gguf")
    return without_shard(stem) == stem or re.search(r"-0{4}1-of-\d{5}$", stem) is not None


def split_name(file_name: str) -> tuple[str, str | None]:
    """A file's name without extension, shard number and quantisation; and the quantisation, in lower case."""
    stem = file_name[: -len(".gguf")] if file_name.lower().endswith(".gguf") else file_name
    stem = without_shard(stem)
    match = _QUANTIZATION.search(stem.lower())
    # lower() can change the length of exotic letters; the quantisation itself is ASCII, so count from the end
    if match is None:
        return stem, None
    return stem[: len(stem) - len(match.group())], match["quantization"]


def base_key(file_name: str) -> str:
    """The key that a file called ``file_name`` has when no other file contests it."""
    return split_name(file_name)[0].lower()
