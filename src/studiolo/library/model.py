"""A model: a file in the library, and the key that names it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from ..protocol.models import Domain
from .gguf_file import Metadata

_QUANTIZATION = re.compile(
    r"[.\-_@]((?:ud[.\-_])?(?:i?q\d+(?:_[a-z0-9]+)*|tq\d_\d|bf16|f16|fp16|f32|fp32|mxfp4(?:_moe)?|nvfp4))$"
)
_LATER_SHARD = re.compile(r"-(\d{5})-of-\d{5}$")


class Model(Struct, frozen=True, kw_only=True):
    """Weights on disk.

    Parameters:
        key: the name by which it is loaded; unique in the library.
        path: the file.
        name: the path to show: relative to the models folder, with forward slashes.
        publisher: the folder above the model's, as LM Studio lays them out.
        size_bytes: the size of the file.
        metadata: what the file says of itself; ``None`` where it cannot be read.
        error: why it cannot be used.
    """

    key: str
    path: Path
    name: str
    publisher: str | None
    size_bytes: int
    metadata: Metadata | None
    error: str | None = None

    @property
    def domain(self) -> Domain:
        return self.metadata.domain if self.metadata else "llm"

    @property
    def display_name(self) -> str:
        return (self.metadata and self.metadata.name) or self.path.stem

    @property
    def max_context_length(self) -> int:
        return self.metadata.max_context_length if self.metadata else 0


def split_quantization(stem: str) -> tuple[str, str | None]:
    """A file's stem, in lower case, as the name of the model and its quantisation.

    >>> split_quantization("SmolLM2-135M-Instruct.Q4_1")
    ('smollm2-135m-instruct', 'q4_1')
    """
    stem = _LATER_SHARD.sub("", stem.lower())
    match = _QUANTIZATION.search(stem)
    if match is None or match.start() == 0:
        return stem, None
    return stem[: match.start()], match[1]


def is_model_file(path: Path) -> bool:
    """Whether ``path`` is the file to name when a model is loaded: not a projector, not a later shard."""
    stem = path.stem.lower()
    shard = _LATER_SHARD.search(stem)
    return not stem.startswith("mmproj") and (shard is None or int(shard[1]) == 1)


def assign_keys(names: Iterable[str]) -> dict[str, str]:
    """A key for every file, by its name relative to the models folder.

    The bare name where one file alone has it, else with the quantisation, else with the publisher before it, else
    the name of the file itself. The order of the names makes no difference.
    """
    forms: dict[str, list[str]] = {}
    for name in names:
        path = Path(name)
        bare, quantization = split_quantization(path.stem)
        full = f"{bare}@{quantization}" if quantization else bare
        publisher = f"{path.parts[0].lower()}/" if len(path.parts) > 1 else ""
        forms[name] = [bare, full, publisher + full, name]
    keys: dict[str, str] = {}
    for level in range(4):
        left = [name for name in forms if name not in keys]
        # A form is free when no other file has it, at this level or as a shorter one that is still in question.
        taken = Counter(forms[name][level] for name in left)
        used = set(keys.values())
        for name in left:
            form = forms[name][level]
            if (taken[form] == 1 and form not in used) or level == 3:
                keys[name] = form
    return keys
