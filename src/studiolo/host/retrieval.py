"""Find the passages of files that are nearest to a question, by the vectors of an embedding model."""

from __future__ import annotations

import asyncio
import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError, PromptTooLongError
from .documents import Document, Documents
from .files import content_of
from .lease import Lease

Step = Literal["loading", "chunking", "embedding"]
Span = int | tuple[int, int]

MAX_CHUNKS = 100_000
"""Passages of one retrieval."""

MAX_KEPT_BYTES = 256 * 2**20
"""Bytes of passages and vectors that are kept; the least recently used are dropped first."""

CHUNK_BYTES = 200
"""Bytes of a passage beside its text and its vector, about."""

AT_ONCE = 16
"""Passages whose vectors are computed at a time."""

_BREAKS = ("\n\n", "\n", ". ", " ")


@dataclass(frozen=True)
class Chunk:
    """A passage and its pages and lines, counted from 1."""

    content: str
    page: Span | None
    line: Span | None


@dataclass(frozen=True)
class Found:
    """A passage that was found.

    Parameters:
        score: how near it is to the question, at most 1.
        source: the index of its file.
    """

    chunk: Chunk
    score: float
    source: int


@dataclass
class RetrievalProgress:
    """Callbacks for the progress of a retrieval."""

    files: Callable[[list[int]], None]
    file: Callable[[int, bool], None]
    """The index of a file that begins (false) or is done (true)."""
    step: Callable[[int, Step, float | None, bool], None]
    """A step of a file: how far it is; with ``None``, whether it begins (false) or is done (true)."""
    searching: Callable[[bool], None]


@dataclass(frozen=True)
class _Known:
    """What was computed for a file: its passages, and their vectors as the rows of a matrix."""

    chunks: list[Chunk]
    vectors: Any

    @property
    def size(self) -> int:
        return self.vectors.nbytes + sum(len(chunk.content) + CHUNK_BYTES for chunk in self.chunks)


class Retriever:
    """Retrieval over the documents of a host. Passages and vectors of a file are kept for the next question."""

    def __init__(self, documents: Documents, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._documents = documents
        self._max_kept_bytes = max_kept_bytes
        self._kept: OrderedDict[tuple[Any, ...], _Known] = OrderedDict()

    async def retrieve(
        self,
        query: str,
        identifiers: Sequence[str],
        model: Lease,
        progress: RetrievalProgress,
        *,
        limit: int,
        chunk_size: int,
        chunk_overlap: int,
    ) -> list[Found]:
        """Return the ``limit`` passages that are nearest to ``query``, the nearest first.

        Parameters:
            identifiers: the files.
            model: a lease of an embedding model.
            progress: called as it advances.
            chunk_size: characters of a passage at most.
            chunk_overlap: characters that two neighbours have in common, about.

        Raises:
            ConfigError: the overlap is not smaller than the size, or there are too many passages.
            FilesError, UnsupportedError: a file cannot be read.
            PromptTooLongError: the question exceeds the model's context.
            EngineError: as :meth:`Lease.embed`.
        """
        if not 0 <= chunk_overlap < chunk_size:
            raise ConfigError(f"Passages of {chunk_size} characters cannot overlap by {chunk_overlap}")
        keys = [
            (content_of(identifier), model.instance.model.path, chunk_size, chunk_overlap) for identifier in identifiers
        ]
        known = {key: self._kept[key] for key in keys if key in self._kept}
        wanted = [index for index, key in enumerate(keys) if key not in known and key not in keys[:index]]
        progress.files(wanted)
        for index in wanted:
            progress.file(index, False)
            room = MAX_CHUNKS - sum(len(each.chunks) for each in known.values())
            known[keys[index]] = await self._read(index, keys[index], model, progress, room)
            progress.file(index, True)
        self._keep(known)
        progress.searching(False)
        question = (await model.embed([query])).vectors[0]
        found = await asyncio.to_thread(_nearest, question, [known[key] for key in keys], limit)
        progress.searching(True)
        return found

    def _keep(self, known: dict[tuple[Any, ...], _Known]) -> None:
        for key, each in known.items():
            self._kept[key] = each
            self._kept.move_to_end(key)
        total = sum(each.size for each in self._kept.values())
        while total > self._max_kept_bytes:
            total -= self._kept.popitem(last=False)[1].size

    async def _read(
        self, index: int, key: tuple[Any, ...], model: Lease, progress: RetrievalProgress, room: int
    ) -> _Known:
        identifier, _, size, overlap = key
        progress.step(index, "loading", None, False)
        document = await self._documents.read(identifier, lambda share: progress.step(index, "loading", share, False))
        progress.step(index, "loading", None, True)
        progress.step(index, "chunking", None, False)
        chunks = await asyncio.to_thread(chunks_of, document, size, overlap, room)
        progress.step(index, "chunking", None, True)
        progress.step(index, "embedding", None, False)
        known: list[tuple[Chunk, Sequence[float]]] = []
        for start in range(0, len(chunks), AT_ONCE):
            batch = chunks[start : start + AT_ONCE]
            known += await _embed(batch, model)
            progress.step(index, "embedding", (start + len(batch)) / len(chunks), False)
        progress.step(index, "embedding", None, True)
        return _Known([chunk for chunk, _ in known], await asyncio.to_thread(_matrix, [vector for _, vector in known]))


async def _embed(chunks: list[Chunk], model: Lease) -> list[tuple[Chunk, Sequence[float]]]:
    """Return the vectors of passages; of the parts of one that exceeds the model's context."""
    try:
        embeddings = await model.embed([chunk.content for chunk in chunks])
        return list(zip(chunks, embeddings.vectors, strict=True))
    except PromptTooLongError:
        if len(chunks) > 1:
            return [pair for chunk in chunks for pair in await _embed([chunk], model)]
        if len(chunks[0].content) < 2:
            raise
        return [pair for half in _halves(chunks[0]) for pair in await _embed([half], model)]


def _halves(chunk: Chunk) -> list[Chunk]:
    middle = len(chunk.content) // 2
    at = chunk.content.rfind(" ", 1, middle) + 1 or middle
    left, right = chunk.content[:at], chunk.content[at:]
    if chunk.line is None:
        return [Chunk(left, chunk.page, None), Chunk(right, chunk.page, None)]
    first, last = (chunk.line, chunk.line) if isinstance(chunk.line, int) else chunk.line
    turn = first + left.count("\n")
    return [Chunk(left, chunk.page, _span(first, turn)), Chunk(right, chunk.page, _span(turn, last))]


def chunks_of(document: Document, size: int, overlap: int, limit: int = MAX_CHUNKS) -> list[Chunk]:
    """Return a document's passages: they end at a paragraph, else a line, a sentence or a word, and overlap by about
    ``overlap`` characters. Raise :class:`ConfigError` if there are more than ``limit``."""
    chunks: list[Chunk] = []
    for number, text in enumerate(document.pages, 1):
        line_starts = [0, *(index + 1 for index, letter in enumerate(text) if letter == "\n")]
        for start, end in _spans(text, size, overlap):
            content = text[start:end]
            begin = start + len(content) - len(content.lstrip())
            last = start + len(content.rstrip())
            if begin >= last:
                continue
            first_line, last_line = bisect.bisect(line_starts, begin), bisect.bisect(line_starts, last - 1)
            lines = None if document.paged else _span(first_line, last_line)
            chunks.append(Chunk(text[begin:last], number if document.paged else None, lines))
            if len(chunks) > limit:
                raise ConfigError(
                    f"A retrieval takes {MAX_CHUNKS:,} passages at most, and there are more",
                    suggestion="Make the passages larger, have them overlap less, or give fewer files.",
                )
    return chunks


def _span(first: int, last: int) -> Span:
    return first if first == last else (first, last)


def _spans(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            for mark in _BREAKS:
                at = text.rfind(mark, start + size // 2, end)
                if at >= 0:
                    end = at + len(mark)
                    break
        yield start, min(end, len(text))
        if end >= len(text):
            return
        back = max(end - overlap, start + 1)
        space = text.find(" ", back, end)
        start = space + 1 if overlap and space >= 0 else back if overlap else end


def _matrix(vectors: Sequence[Sequence[float]]) -> Any:
    import numpy

    return numpy.asarray(vectors, dtype=numpy.float32)


def _nearest(question: Sequence[float], files: list[_Known], limit: int) -> list[Found]:
    import numpy

    vector = numpy.asarray(question, dtype=numpy.float32)
    found: list[Found] = []
    for source, known in enumerate(files):
        if known.chunks:
            scores: list[float] = (known.vectors @ vector).tolist()
            found += [Found(chunk, score, source) for chunk, score in zip(known.chunks, scores, strict=True)]
    return sorted(found, key=lambda each: -each.score)[:limit]
