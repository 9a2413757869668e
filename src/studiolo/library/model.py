"""A model on disk, and what its file's name says."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from ..domain.models import Domain
from ..errors import ModelFileError
from ..settings import with_prefix, without_prefix
from .gguf_file import ENCODERS, Metadata
from .gguf_kind import phrase, unknown_architecture
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
    """A model on disk. If a model has several variants (quantisations), each of them is one.

    Parameters:
        key: its unique name in the library.
        group: the key that all its variants share; its own key (the default) if it is the only one.
        variant: its quantisation in lower case, or Ollama's tag; ``None`` if neither is known.
        variants: the keys of all variants, its own included; empty if it is the only one.
        selected: whether ``group`` means this variant.
        path: the GGUF file; the first of several shards.
        relative_path: ``publisher/name/file.gguf`` under the folder in which it was found; the absolute path of a file
            outside of all folders; Ollama's name of a model in its store.
        origin: where it belongs: the home, a further folder, another program.
        display_name: its name for people: without the quantisation, with spaces.
        publisher: the first folder of ``relative_path``; empty if there is none.
        size_bytes: the size of all its files: shards and projector.
        parts: the file (the default), or its shards, without missing ones.
        mmproj: the projector beside it: the file for image and audio input.
        vision, audio: whether it takes images, and audio.
        metadata: the contents of the file's header; ``None`` if the model cannot be used.
        kind: ``model``, or what the file is instead (:data:`.gguf_kind.PHRASES`), such as ``adapter``.
        fits: of a LoRA adapter, the keys of the models that it fits.
        error: why the model cannot be used; of an adapter, why not by itself.
        note: what the user should know of a model that can be used, such as a projector that does not fit.
        domain_set: whether the settings or a request have set its domain, to another one than its file's.
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
    audio: bool = False
    metadata: Metadata | None = None
    kind: str = "model"
    fits: tuple[str, ...] = ()
    error: str | None = None
    note: str | None = None
    domain_set: bool = False

    def __post_init__(self) -> None:
        if not self.group:
            force_setattr(self, "group", self.key)
        if not self.parts:
            force_setattr(self, "parts", (self.path,))

    @property
    def domain(self) -> Domain | None:
        """The kind of the model; ``None`` if its file cannot be used."""
        return self.metadata.domain if self.metadata else None


def as_domain(model: Model, domain: Domain) -> Model:
    """Return ``model`` as one of ``domain``, whatever its file says. An encoder stays an embedding model."""
    if (
        model.metadata is None
        or model.domain == domain
        or (domain == "llm" and model.metadata.architecture in ENCODERS)
    ):
        return model
    named = with_prefix if domain == "embedding" else without_prefix
    return replace(
        model,
        key=named(model.key),
        group=named(model.group),
        metadata=replace(model.metadata, domain=domain),
        mmproj=None,
        vision=False,
        audio=False,
        domain_set=not model.domain_set,
    )


def is_projector_name(name: str) -> bool:
    """Whether ``name`` is the file name of a projector, which gives the model beside it image or audio input."""
    return "mmproj" in name.lower()


def is_model_file(name: str) -> bool:
    """Whether ``name`` is the file name of a model: a GGUF file, but not a projector or a later shard."""
    lower = name.lower()
    if not lower.endswith(".gguf") or is_projector_name(name):
        return False
    stem = lower.removesuffix(".gguf")
    return without_shard(stem) == stem or re.search(r"-0{4}1-of-\d{5}$", stem) is not None


def split_name(file_name: str) -> tuple[str, str | None]:
    """Return a file's name without extension, shard number and quantisation; and the quantisation, in lower case."""
    stem = file_name[: -len(".gguf")] if file_name.lower().endswith(".gguf") else file_name
    stem = without_shard(stem)
    match = _QUANTIZATION.search(stem.lower())
    # lower() can change the length of exotic letters; the quantisation itself is ASCII, so count from the end
    if match is None:
        return stem, None
    return stem[: len(stem) - len(match.group())], match["quantization"]


def base_key(file_name: str) -> str:
    """Return the key of a file with this name, if no other file claims the same key."""
    return split_name(file_name)[0].lower()


_USES = {
    "mmproj": "Put it into the folder of the model that it was made for",
}


def not_a_model(path: Path, metadata: Metadata, knows_all: bool) -> ModelFileError | None:
    """Return the error that says what the file at ``path`` is, if the engine cannot run it as a model.

    Parameters:
        knows_all: whether the engine may know other architectures than the bundled one's.
    """
    what = phrase(metadata.type)
    if what is not None:
        return ModelFileError(f"{path} is not a model", cause=f"It is {what}", suggestion=_USES.get(metadata.type))
    what = None if knows_all else unknown_architecture(metadata.architecture)
    if what is None:
        return None
    return ModelFileError(
        f"{path} cannot be run",
        cause=f"It is {what}",
        suggestion="A newer engine may know it: set engine.name in config.toml to one of your own",
    )
