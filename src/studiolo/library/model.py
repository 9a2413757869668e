"""A model on disk, and how it gets its key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from msgspec import Struct

from .gguf_file import Domain, Metadata

_SHARD = re.compile(r"-(?P<index>\d{5})-of-\d{5}$")

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
    """A model on disk.

    Parameters:
        key: the name that the model goes by: unique in the library.
        path: the GGUF file.
        relative_path: ``publisher/name/file.gguf`` under the models folder; the absolute path of one outside.
        display_name: the file's name without its quantisation, for people.
        publisher: the first folder of ``relative_path``; empty where there is none.
        size_bytes: the size of the file.
        mmproj: the file beside it that lets it see images.
        metadata: what the file says of itself; ``None`` when it cannot be used.
        error: why the file cannot be used.
    """

    key: str
    path: Path
    relative_path: str
    display_name: str
    publisher: str
    size_bytes: int
    mmproj: Path | None = None
    metadata: Metadata | None = None
    error: str | None = None

    @property
    def domain(self) -> Domain | None:
        """What the model is for; ``None`` when its file cannot be used."""
        return self.metadata.domain if self.metadata else None


def is_model_file(name: str) -> bool:
    """Whether a file called ``name`` stands for a model: a GGUF file, but no companion of another one.

    The companions (an ``mmproj`` beside a vision model, the shards after the first) are left out of the library's
    listing here; whoever groups them with their model one day starts from this function.
    """
    lower = name.lower()
    if not lower.endswith(".gguf") or lower.startswith("mmproj"):
        return False
    shard = _SHARD.search(lower.removesuffix(".gguf"))
    return shard is None or int(shard["index"]) == 1


def split_name(file_name: str) -> tuple[str, str | None]:
    """A file's name without extension, shard number and quantisation; and the quantisation, in lower case."""
    stem = file_name[: -len(".gguf")] if file_name.lower().endswith(".gguf") else file_name
    stem = _SHARD.sub("", stem)
    match = _QUANTIZATION.search(stem.lower())
    # lower() can change the length of exotic letters; the quantisation itself is ASCII, so count from the end
    if match is None:
        return stem, None
    return stem[: len(stem) - len(match.group())], match["quantization"]


def base_key(file_name: str) -> str:
    """The key that a file called ``file_name`` has when no other file contests it."""
    return split_name(file_name)[0].lower()


def publisher_of(relative_path: str) -> str:
    """The first folder of ``relative_path``, or ``""``."""
    parts = PurePosixPath(relative_path).parts
    return parts[0] if len(parts) > 1 else ""


def assign_keys(relative_paths: Iterable[str], reserved: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give each path a key of its own: ``name``, else ``name@quant``, else ``publisher/name@quant``, else the path.

    Files that contest a key all move on to their next one, so that the outcome does not depend on any order.

    Parameters:
        relative_paths: the files, each once.
        reserved: paths that keep a certain key whatever others come (those of the catalog).
    """
    reserved = reserved or {}
    choices: dict[str, list[str]] = {}
    for path in sorted(relative_paths):
        name, quantization = split_name(PurePosixPath(path).name)
        plain = name.lower()
        precise = f"{plain}@{quantization}" if quantization else plain
        publisher = publisher_of(path).lower()
        named = f"{publisher}/{precise}" if publisher else precise
        choices[path] = [reserved[path]] if path in reserved else [plain, precise, named, path]
    while True:
        counts = Counter(options[0] for options in choices.values())
        contested = [options for options in choices.values() if counts[options[0]] > 1 and len(options) > 1]
        if not contested:
            return {path: options[0] for path, options in choices.items()}
        for options in contested:
            del options[0]
