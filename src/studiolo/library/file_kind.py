"""The kind of a file that is not a model, from a fixed list.

An error about a file may reach any client of a server. It names the kind and repeats nothing of the content: the file
may be one that the client must not read.
"""

from __future__ import annotations

import codecs

_OLDER_FORMATS = (b"ggml", b"lmgg", b"ggjt", b"tjgg", b"fmgg", b"ggmf", b"ggla", b"algg")
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TEXT_CONTROLS = frozenset("\t\n\r\f")

SAMPLE_BYTES = 512
"""How much of a file's beginning decides."""


def file_kind(start: bytes) -> str:
    """Return the kind of a file that begins with ``start``, as a phrase such as ``"a text"``."""
    sample = start[:SAMPLE_BYTES]
    if not sample:
        return "empty"
    if sample.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: the file itself was not downloaded"
    if sample.startswith(_OLDER_FORMATS):
        return "a model in a format older than GGUF"
    if sample.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "a ZIP or PyTorch file"
    if sample[8:9] == b"{" and int.from_bytes(sample[:8], "little") < 1 << 32:
        return "safetensors"
    if not sample.strip(b"\0"):
        return "all zeros"
    if _is_text(sample):
        is_html = sample.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<"
        return "HTML, probably an error page of the site it was downloaded from" if is_html else "a text"
    return "something else"


def _is_text(sample: bytes) -> bool:
    if sample.startswith(_BYTE_ORDER_MARKS):
        return True
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)  # the sample may end within a letter
    except UnicodeDecodeError:
        return False
    return all(letter >= " " or letter in _TEXT_CONTROLS for letter in text)
