"""Read the headers of GGUF files.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The header is parsed here, with a check at each
step, and not by ``gguf.GGUFReader``, which maps every token of the vocabulary to an array (seconds for a common model)
and does not terminate on some damaged files. The names and sizes of the types are from the ``gguf`` package.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from msgspec import Struct

from ..domain.models import Domain
from ..domain.vocabulary import template_reasons
from ..errors import ModelFileError
from .file_kind import SAMPLE_BYTES, file_kind
from .gguf_kind import kind_of
from .gguf_tables import gguf_tables

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_NAMED_VERSION = 99
"""An error names a version up to this one: a larger one is four bytes of a file that is no model."""
_CHUNK = 1 << 20

# Far above what real models have, and low enough to reject a damaged file at once.
_MAX_HEADER = 256 << 20
_MAX_FIELDS = 1 << 16
_MAX_TENSORS = 1 << 20
_MAX_DIMENSIONS = 4
_MAX_LIST = 4096  # the longest useful lists have a number for each layer

# Value types of the header: code -> struct format. 8 is a string and 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_BERTS = ("bert", "eurobert", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe")
ENCODERS = frozenset((*_BERTS, "gemma-embedding", "t5encoder"))


class LoraPair(NamedTuple):
    """The shapes of the two tensors of a LoRA adapter that change one of the model's; ``()`` for a missing one."""

    a: tuple[int, ...] = ()
    b: tuple[int, ...] = ()


class Metadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata in the header of a GGUF file.

    Parameters:
        architecture: ``general.architecture``, such as ``llama``.
        name: ``general.name``, which is often not the model's usual name.
        parameter_count: elements of all tensors in this file.
        params_string: the size for people, such as ``135M``: from the file, else (of an LLM) counted.
        quantization: the name of the quantisation, such as ``Q4_K_M``.
        bits: bits per weight, by the name of the quantisation.
        max_context_length: the context length that the model was trained with, in tokens.
        block_count: the number of layers.
        chat_template: the Jinja template of the chat format.
        domain: the kind of the model.
        type: ``model``, or what it is instead (:func:`.gguf_kind.kind_of`), such as ``mmproj`` or ``adapter``.
        vision, audio: whether a projector is for images, and for audio.
        trained_for_tool_use: whether its chat template has tools.
        embedding_length: the width of a token's vector; of a projector, the one that it is made for, if it says so.
        fault: why a projector cannot be used, as far as its header shows.
        decides: whether it is a decision model, which chooses between answers in one step: a System One model.
        reranks: whether it says how well a text answers a question, in place of computing vectors.
        lora: of a LoRA adapter: the shapes of its pairs of tensors, by the tensor that they change.
    """

    architecture: str
    name: str | None = None
    parameter_count: int = 0
    params_string: str | None = None
    quantization: str | None = None
    bits: int | None = None
    max_context_length: int | None = None
    block_count: int | None = None
    chat_template: str | None = None
    domain: Domain = "llm"
    type: str = "model"
    vision: bool = False
    audio: bool = False
    trained_for_tool_use: bool = False
    embedding_length: int | None = None
    fault: str | None = None
    decides: bool = False
    reranks: bool = False
    lora: dict[str, LoraPair] | None = None

    @property
    def reasons(self) -> bool:
        """Whether its chat template has a place for reasoning."""
        return template_reasons(self.chat_template or "")


class Tensor(NamedTuple):
    """One entry of the header's table of tensors."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    """In bytes, from the start of the tensor data."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Header(NamedTuple):
    """The header of a GGUF file.

    ``fields`` leaves out all arrays but short ones of numbers: the vocabulary is most of the header.
    """

    fields: dict[str, Any]
    tensors: list[Tensor]
    data_start: int


def read_metadata(path: Path) -> Metadata:
    """Return the metadata of the file at ``path``. Blocks for about 0.1 s, the first time in a process 0.4 s longer.

    Raises:
        ModelFileError: the file cannot be read, is not GGUF, or is damaged or incomplete.
    """
    return describe(read_header(path))


def read_header(path: Path, *, check: bool = True, keep: frozenset[str] = frozenset()) -> Header:
    """Return the header of the file at ``path``. Blocks, and raises, as :func:`read_metadata`.

    Parameters:
        path: the file.
        check: raise :class:`ModelFileError` if the file ends before its last tensor.
        keep: the fields whose arrays are returned however long they are; strings in them as bytes.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = _read_header(path, file, size, keep)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read", cause=error.strerror or str(error)) from error
    if check:
        _check_complete(path, header, size)
    return header


def _damaged(path: Path, cause: str) -> NoReturn:
    raise ModelFileError(
        f"{path} is damaged", cause=cause, suggestion="Fetch the file again, or delete it if it is not needed"
    )


def _truncated(path: Path, size: int, needed: int, what: str) -> NoReturn:
    raise ModelFileError(
        f"{path} is incomplete",
        cause=f"It has {size:,} bytes, and {what} {needed:,}",
        suggestion="The copy or download was probably interrupted: fetch it again",
        data={"size_bytes": size, "needed_bytes": needed},
    )


class _Cursor:
    """A position in the header. Each step is checked against the end of the file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.position = 0
        self._file = file
        self._size = size
        self._buffer = bytearray()

    def need(self, count: int) -> int:
        """Move past ``count`` bytes, which must exist. Return where they begin."""
        start, end = self.position, self.position + count
        if end > len(self._buffer):
            self._fill(end)
        self.position = end
        return start

    def _fill(self, end: int) -> None:
        if end > _MAX_HEADER:
            _damaged(self.path, f"Its header claims more than {_MAX_HEADER >> 20} MiB")
        if end > self._size:
            _truncated(self.path, self._size, end, "its header needs at least")
        self._buffer += self._file.read(end - len(self._buffer) + _CHUNK)
        if end > len(self._buffer):  # the file was truncated meanwhile
            _truncated(self.path, len(self._buffer), end, "its header needs at least")

    def number(self, code: str) -> Any:
        format = struct.Struct("<" + code)
        return format.unpack_from(self._buffer, self.need(format.size))[0]

    def string(self) -> str:
        start = self.need(self.number("Q"))
        # Some vocabularies and names have invalid UTF-8, and the engine accepts them.
        return self._buffer[start : self.position].decode("utf-8", errors="replace")

    def value(self, *, whole: bool = False) -> Any:
        kind: int = self.number("I")
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(whole=whole)
        _damaged(self.path, "A field in its header has an unknown type")

    def array(self, *, whole: bool = False) -> list[Any] | None:
        """Move past an array. Return it if it is a short one of numbers, or ``whole``."""
        kind: int = self.number("I")
        count: int = self.number("Q")
        if kind in _SCALARS:
            start = self.need(count * struct.calcsize("<" + _SCALARS[kind]))
            if whole or count <= _MAX_LIST:
                return list(struct.unpack_from(f"<{count}{_SCALARS[kind]}", self._buffer, start))
        elif kind == _STRING:
            # The hot loop of this module: a vocabulary has about 100,000 strings.
            unpack, buffer, need = struct.Struct("<Q").unpack_from, self._buffer, self.need
            if whole:
                strings: list[bytes] = []
                for _ in range(count):
                    start = need(unpack(buffer, need(8))[0])
                    strings.append(bytes(buffer[start : self.position]))
                return strings
            for _ in range(count):
                need(unpack(buffer, need(8))[0])
        else:
            _damaged(self.path, "An array in its header has elements of an unknown type")
        return None


def _read_header(path: Path, file: BinaryIO, size: int, keep: frozenset[str] = frozenset()) -> Header:
    if size == 0:
        raise ModelFileError(f"{path} is empty", cause="It has 0 bytes", suggestion="Fetch the file again")
    start = file.read(SAMPLE_BYTES)
    file.seek(0)
    if not start.startswith(_MAGIC):
        raise ModelFileError(
            f"{path} is not a GGUF file",
            cause=f"Its content is {file_kind(start)}",
            suggestion="studiolo runs GGUF files: look for a GGUF version of the model",
        )
    cursor = _Cursor(path, file, size)
    cursor.need(len(_MAGIC))
    version: int = cursor.number("I")
    if version not in _VERSIONS:
        if not version & 0xFFFF or version > _MAX_NAMED_VERSION:
            _damaged(path, "It is for big-endian machines, or its version number is invalid")
        raise ModelFileError(f"{path} has GGUF version {version}", cause="Versions 2 and 3 are supported")
    tensor_count: int = cursor.number("Q")
    field_count: int = cursor.number("Q")
    if field_count > _MAX_FIELDS or tensor_count > _MAX_TENSORS:
        _damaged(path, "Its header claims more fields or tensors than any model has")
    fields: dict[str, Any] = {}
    for _ in range(field_count):
        key = cursor.string()
        value = cursor.value(whole=key in keep)
        if value is not None:
            fields[key] = value
    tensors = [_read_tensor(cursor) for _ in range(tensor_count)]
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        _damaged(path, "Its alignment is not a power of two")
    return Header(fields, tensors, -(-cursor.position // alignment) * alignment)


def _read_tensor(cursor: _Cursor) -> Tensor:
    name = cursor.string()
    dimensions: int = cursor.number("I")
    if dimensions > _MAX_DIMENSIONS:
        _damaged(cursor.path, f"A tensor has more than {_MAX_DIMENSIONS} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    return Tensor(name, shape, cursor.number("I"), cursor.number("Q"))


def _check_complete(path: Path, header: Header, size: int) -> None:
    sizes: dict[int, tuple[int, int]] = {int(kind): size for kind, size in gguf_tables().GGML_QUANT_SIZES.items()}
    end = header.data_start if header.tensors else 0
    for tensor in header.tensors:
        if tensor.type in sizes:  # the engine judges those that this version of gguf does not know
            block, block_bytes = sizes[tensor.type]
            end = max(end, header.data_start + tensor.offset + tensor.elements // block * block_bytes)
    if end > size:
        _truncated(path, size, end, "its tensors need")


def describe(header: Header) -> Metadata:
    """Return the metadata that a header has."""

    def text(key: str) -> str | None:
        value = header.fields.get(key)
        return value if isinstance(value, str) and value else None

    def number(key: str) -> int | None:
        value = header.fields.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    architecture = text("general.architecture") or "unknown"
    parameters = sum(tensor.elements for tensor in header.tensors)
    quantization = _quantization(number("general.file_type"), header.tensors)
    bits = re.search(r"\d+", quantization or "")
    template = text("tokenizer.chat_template")
    kind = kind_of(header.fields, (tensor.name for tensor in header.tensors))
    width = _projects_to(header.fields) if kind == "mmproj" else number(f"{architecture}.embedding_length")
    hears = kind == "mmproj" and header.fields.get("clip.has_audio_encoder") is True
    sees = kind == "mmproj" and header.fields.get("clip.has_vision_encoder", not hears) is not False
    pooling = number(f"{architecture}.pooling_type")
    embeds = architecture in ENCODERS or bool(pooling)
    return Metadata(
        architecture=architecture,
        name=text("general.name"),
        parameter_count=parameters,
        params_string=text("general.size_label") or (None if embeds else count_string(parameters)),
        quantization=quantization,
        bits=int(bits.group()) if bits else None,
        max_context_length=number(f"{architecture}.context_length"),
        block_count=number(f"{architecture}.block_count"),
        chat_template=template,
        domain="embedding" if embeds else "llm",
        type=kind,
        vision=sees,
        audio=hears,
        trained_for_tool_use=bool(template and re.search(r"\btools\b", template)),
        embedding_length=width,
        decides=bool(text(f"{architecture}.decision.type") and text("tokenizer.chat_template.systemone")),
        reranks=pooling == 4,  # "rank": a head that makes one number of a question and a text
        fault=_fault(header) if sees else None,
        lora=_lora_pairs(header.tensors) if kind == "adapter" else None,
    )


# What the engine needs of every projector for images.
_PROJECTOR_FIELDS = ("embedding_length", "block_count", "attention.head_count")

# Older converters wrote another width than the text model's into the projector's field.
_OLDER_PROJECTORS = ("clip.has_llava_projector", "clip.has_minicpmv_projector", "clip.has_glm_projector")


def _projects_to(fields: Mapping[str, Any]) -> int | None:
    width = fields.get("clip.vision.projection_dim")
    if any(field in fields for field in _OLDER_PROJECTORS) or not isinstance(width, int) or width <= 0:
        return None
    return width


def _fault(projector: Header) -> str | None:
    missing = [name for name in _PROJECTOR_FIELDS if f"clip.vision.{name}" not in projector.fields]
    if missing:
        return f"Its header has no clip.vision.{missing[0]}"
    return None if projector.tensors else "It has no tensors"


def _lora_pairs(tensors: list[Tensor]) -> dict[str, LoraPair]:
    pairs: dict[str, LoraPair] = {}
    for tensor in tensors:
        name, _, half = tensor.name.rpartition(".lora_")
        if half in ("a", "b"):
            pairs[name] = pairs.get(name, LoraPair())._replace(**{half: tensor.shape})
    return pairs


def _quantization(file_type: int | None, tensors: list[Tensor]) -> str | None:
    if file_type is not None:
        types: Any = gguf_tables().LlamaFileType
        # The bit 1024 says that the type was inferred from the tensors.
        known: dict[int, str] = {int(member): member.name for member in types}
        name = known.get(file_type & ~int(types.GUESSED))
        return name.removeprefix("MOSTLY_").removeprefix("ALL_") if name else None
    weight: Counter[int] = Counter()
    for tensor in tensors:
        weight[tensor.type] += tensor.elements
    names: dict[int, str] = {int(member): member.name for member in gguf_tables().GGMLQuantizationType}
    return names.get(weight.most_common(1)[0][0]) if weight else None


def count_string(parameters: int) -> str | None:
    """Return a number of parameters for people: ``135M``, ``1.7B``; ``None`` for 0."""
    if parameters <= 0:
        return None
    for unit, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= unit:
            value = parameters / unit
            return f"{value:.1f}".removesuffix(".0") + letter if value < 10 else f"{value:.0f}{letter}"
    return str(parameters)
