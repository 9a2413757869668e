"""The names that look like one that nothing has."""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Iterable

_WORD = re.compile(r"\d+|[^\W\d_]+")

# Where the part of a name that people remember ends: at its size, or at a word that many names have.
_SIZE = re.compile(r"[-_ .@](?:[ae]?\d+(?:\.\d+)?[bmk]|x?\d+x\d+b|instruct|chat|base|it|gguf)(?![a-z0-9]).*$")

_SHOWN = 3
_COMPARED = 24
"""Names that are compared letter by letter; the others have fewer pairs of letters in common."""
_ALIKE = 0.6


def closest(name: str, keys: Iterable[str]) -> list[str]:
    """Return up to three of ``keys`` that look like ``name``: first those with its words, then those like it.

    Numbers are compared as numbers: ``model 7`` has the words of ``model-0007``. Of a key, the part before the size
    counts: ``smolm2`` is like ``smollm2-135m-instruct``.
    """
    wanted = name.casefold().rpartition("/")[2].strip()
    words, begin = set(_words(wanted)), _SIZE.sub("", wanted) or wanted
    pairs = _pairs(begin)
    within: list[tuple[bool, int, str]] = []
    alike: list[tuple[float, str, str]] = []
    for key in keys:
        folded = key.casefold()
        last = folded.rpartition("/")[2]
        if (len(wanted) >= _SHOWN and wanted in folded) or (words and words <= set(_words(last))):
            within.append((not last.startswith(wanted), len(key), key))
            continue
        stem = _SIZE.sub("", last) or last
        if common := len(pairs & _pairs(stem)):
            alike.append((-common / (len(stem) + len(begin)), key, stem))
    found = [key for *_, key in heapq.nsmallest(_SHOWN, within)]
    if len(found) < _SHOWN:
        matcher = difflib.SequenceMatcher(b=begin)
        ranked: list[tuple[float, int, str]] = []
        for _, key, stem in heapq.nsmallest(_COMPARED, alike):
            matcher.set_seq1(stem)
            if (ratio := matcher.ratio()) >= _ALIKE:
                ranked.append((-ratio, len(key), key))
        found += [key for *_, key in sorted(ranked)]
    return found[:_SHOWN]


def _words(text: str) -> list[str]:
    return [word.lstrip("0") or word for word in _WORD.findall(text)]


def _pairs(text: str) -> set[str]:
    return {text[index : index + 2] for index in range(len(text) - 1)}
