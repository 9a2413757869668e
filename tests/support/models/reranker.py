"""A reranking model: MiniLM with a head that makes one number of a question and a text. Its weights are random."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy
from gguf.gguf_reader import ReaderTensor
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata


def write_reranker(path: Path, encoder: Path) -> None:
    """Write a copy of ``encoder``, the GGUF file of a BERT, with the head of a cross-encoder to ``path``."""
    reader = gguf.GGUFReader(encoder)
    field = reader.fields["bert.embedding_length"]
    width = int(field.contents())
    chance = numpy.random.default_rng(1)
    head = {
        "cls.weight": chance.normal(0, width**-0.5, (width, width)),
        "cls.bias": numpy.zeros(width),
        "cls.output.weight": chance.normal(0, 1, (1, width)),
        "cls.output.bias": numpy.zeros(1),
    }
    for name, values in head.items():
        data = values.astype(numpy.float32)
        kind = gguf.GGMLQuantizationType.F32
        shape = numpy.array(data.shape[::-1], dtype=numpy.uint64)
        reader.tensors.append(ReaderTensor(name, kind, shape, data.size, data.nbytes, 0, data, field))
    rank = MetadataDetails(gguf.GGUFValueType.UINT32, int(gguf.PoolingType.RANK))
    names = MetadataDetails(gguf.GGUFValueType.STRING, "tiny-reranker")
    copy_with_new_metadata(
        reader,
        gguf.GGUFWriter(path, "bert"),
        {"bert.pooling_type": rank, gguf.Keys.General.NAME: names},
        [],
    )
