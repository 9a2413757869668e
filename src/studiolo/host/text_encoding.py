"""Decode text files of any encoding, and name the byte that makes a file unreadable.

A byte order mark decides, otherwise a declaration in the file (HTML, XML, CSS, Python), otherwise UTF-8, otherwise
UTF-16 without a mark, otherwise cp1252. No byte is ever replaced. Only the standard library is imported: the child
process that parses documents uses this module too.
"""

from __future__ import annotations

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED_WITHIN = 1024
"""Bytes at the beginning of a file that are searched for a declaration, as browsers do."""

_XML = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""", re.IGNORECASE)
_HTML = re.compile(rb"""<meta\s[^>]*?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_CSS = re.compile(rb'@charset "([\w.:-]+)";')
_CODING_LINE = re.compile(rb"(?:[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([\w.-]+)")

_ALIASES = {"x-sjis": "cp932", "shift_jis": "cp932", "sjis": "cp932", "gb2312": "gbk", "x-gbk": "gbk"}
"""Names in declarations that stand for a larger encoding than Python's codec of that name."""

_NOT_TEXT = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7"})
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
# Words without an ASCII letter: many of them are Cyrillic, Greek or East Asian text, not Western.
_FOREIGN_WORD = re.compile(rb"[\x80-\xff]{4,}")
_WORD = re.compile(rb"[A-Za-z]{4,}")
_FOREIGN_WORDS = 3


class UndecodableError(ValueError):
    """The bytes are not text in any encoding that was tried; the message says where."""


def decode(name: str, data: bytes, *, whole: bool = True) -> str:
    """Return the text of a file, without a byte order mark.

    Parameters:
        name: the file's name: its suffix decides which declarations count.
        whole: whether ``data`` is the whole file; otherwise its last character may be incomplete.

    Raises:
        UndecodableError: it is not text, or in an encoding that cannot be recognized.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding, whole, "has the byte order mark of", len(mark))
    if encoding := _without_mark(data):
        return _decoded(data, encoding, whole, "has the form of")
    if (encoding := _declared(name, data)) is not None:
        if encoding in ("iso8859-1", "ascii"):  # both mean cp1252, as in browsers
            try:
                return _decoded(data, "cp1252", whole, "")
            except UndecodableError:
                encoding = "iso8859-1"
        return _decoded(data, encoding, whole, "declares")
    try:
        text = _incremental(data, "utf-8", whole)
    except UnicodeDecodeError as error:
        return _western(data, error)
    if (nul := data.find(b"\0")) >= 0:
        raise UndecodableError(f"It has a NUL byte at position {nul}, as binary data has.")
    return text


def _without_mark(data: bytes) -> str | None:
    """Return the form of UTF-16 that text of Western letters without a mark has; ``None`` if it has neither."""
    sample = data[:4096]
    if len(sample) < 4 or len(data) % 2:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    encoding = "utf-16-le" if odd > len(sample) * 0.3 and not even else "utf-16-be"
    if encoding == "utf-16-be" and (odd or even <= len(sample) * 0.3):
        return None
    sample = sample[: len(sample) // 2 * 2]
    try:
        text = _incremental(sample, encoding, False)
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else encoding


def _declared(name: str, data: bytes) -> str | None:
    """Return Python's name of the encoding that a file declares; ``None`` for none, or one that is not known."""
    head = data[:_DECLARED_WITHIN]
    suffix = name.lower().rpartition(".")[2]
    found = _XML.match(head)
    if found is None and suffix in ("html", "htm", "xhtml"):
        found = _HTML.search(head)
    if found is None and suffix in ("py", "pyw", "pyi", "rb"):
        found = _CODING_LINE.match(head)
    if found is None and suffix == "css":
        found = _CSS.match(head)
    if found is None:
        return None
    label = found[1].decode("ascii", "replace").lower()
    try:
        codec = codecs.lookup(_ALIASES.get(label, label))
    except LookupError:
        return None
    if not getattr(codec, "_is_text_encoding", True) or codec.name in _NOT_TEXT:
        return None
    # A declaration that can be read as ASCII is not in UTF-16.
    return "utf-8" if codec.name.startswith(("utf-16", "utf-32")) else codec.name


def _western(data: bytes, fault: UnicodeDecodeError) -> str:
    """Return text that is not UTF-8 as cp1252, where it can be that."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = "\0"
    foreign = sum(max(1, len(word) // 8) for word in _FOREIGN_WORD.findall(data))
    if not _CONTROL.search(text) and not (foreign >= _FOREIGN_WORDS and foreign > len(_WORD.findall(data))):
        return text
    at = fault.start
    raise UndecodableError(f"It is neither UTF-8 nor UTF-16: the byte 0x{data[at]:02x} at position {at} fits neither.")


def _decoded(data: bytes, encoding: str, whole: bool, why: str, offset: int = 0) -> str:
    try:
        return _incremental(data, encoding, whole)
    except UnicodeError as error:
        at = offset + error.start if isinstance(error, UnicodeDecodeError) else offset
        raise UndecodableError(
            f"It {why} {encoding.upper()}, and the bytes at position {at} are not valid in it."
        ) from None


def _incremental(data: bytes, encoding: str, whole: bool) -> str:
    return codecs.getincrementaldecoder(encoding)("strict").decode(data, whole)
