"""What a GGUF file says of itself. Source of the format: ggml, docs/gguf.md; read with its own library."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..errors import ModelFileError
from ..protocol.models import Domain

MAGIC = b"GGUF"

# Architectures that turn text into vectors.
_EMBEDDING_ARCHITECTURES = re.compile(r".*bert.*|t5encoder|gemma-embedding|llama-embed")


class Metadata(Struct, frozen=True, kw_only=True):
    """What a model's header tells.

    Parameters:
        architecture: such as ``llama``.
        name: the model's own name for itself.
        domain: ``llm`` or ``embedding``.
        params_string: such as ``135M``.
        parameter_count: weights in all.
        quantization, bits: such as ``Q4_K_M``, and the bits of a weight.
        max_context_length: tokens it was made for; 0 where the file does not tell.
        block_count: layers.
        chat_template: the Jinja template, where there is one.
        vision: whether it takes images.
        trained_for_tool_use: whether its template knows tools.
    """

    architecture: str
    name: str | None
    domain: Domain
    params_string: str | None
    parameter_count: int
    quantization: str | None
    bits: int | None
    max_context_length: int
    block_count: int
    chat_template: str | None
    vision: bool
    trained_for_tool_use: bool


def read_metadata(path: Path) -> Metadata:
    """Read the header of ``path``. Takes seconds for a large vocabulary: call it in a thread, and keep the answer.

    Raises:
        ModelFileError: it is not GGUF, truncated, damaged or unreadable.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read", cause=error.strerror or str(error)) from None
    if size == 0:
        raise ModelFileError(f"{path} is empty", suggestion="Delete it and fetch the model again.")
    if magic != MAGIC:
        raise ModelFileError(
            f"{path} is not a GGUF file",
            cause=f"It begins with {magic!r} instead of {MAGIC!r}.",
            suggestion="Only models in the GGUF format can be run.",
        )
    from gguf import GGUFReader  # late: it takes a third of a second to import

    try:
        reader = GGUFReader(path)
    except Exception as error:  # the library reports damage by whatever its arithmetic runs into
        raise ModelFileError(
            f"{path} is truncated or damaged",
            cause=f"Its header cannot be read in its {size} bytes: {type(error).__name__}: {error}",
            suggestion="Delete it and fetch the model again.",
        ) from None
    try:
        return _describe(reader)
    except Exception as error:
        raise ModelFileError(
            f"{path} has a header that makes no sense", cause=f"{type(error).__name__}: {error}"
        ) from None


def _describe(reader: Any) -> Metadata:
    def field(key: str) -> Any:
        found = reader.get_field(key)
        return None if found is None else found.contents()

    architecture = str(field("general.architecture") or "")
    if not architecture:
        raise ValueError("it names no architecture")
    count = sum(int(tensor.n_elements) for tensor in reader.tensors)
    template = field("tokenizer.chat_template")
    quantization = _quantization(field("general.file_type"))
    data_bits = sum(int(tensor.n_bytes) for tensor in reader.tensors) * 8
    embedding = (
        _EMBEDDING_ARCHITECTURES.fullmatch(architecture) is not None
        or field(f"{architecture}.pooling_type") is not None
    )
    return Metadata(
        architecture=architecture,
        name=field("general.name"),
        domain="embedding" if embedding else "llm",
        params_string=field("general.size_label") or _short_count(count),
        parameter_count=count,
        quantization=quantization,
        bits=_bits(quantization) or (round(data_bits / count) if count else None),
        max_context_length=int(field(f"{architecture}.context_length") or 0),
        block_count=int(field(f"{architecture}.block_count") or 0),
        chat_template=template,
        vision=False,
        trained_for_tool_use=bool(template and "tools" in template),
    )


def _quantization(file_type: int | None) -> str | None:
    if file_type is None:
        return None
    from gguf import LlamaFileType

    try:
        name = LlamaFileType(file_type).name
    except ValueError:
        return None
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def _bits(quantization: str | None) -> int | None:
    match = re.match(r"(?:I?Q|B?F|TQ)(\d+)", quantization or "")
    return int(match[1]) if match else None


def _short_count(count: int) -> str | None:
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            value = count / unit
            return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}".rstrip("0").rstrip(".") + letter
    return None
