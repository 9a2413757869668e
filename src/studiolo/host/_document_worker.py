"""The child process that parses one document, within limits.

It imports little, so that it starts fast.
Usage: ``_document_worker KIND FILE MAX_MEMORY_BYTES MAX_CPU_SEC MAX_TEXT_BYTES``. It prints a JSON object a line:
``page`` (its text) and ``share`` (how much is read) for each page, then ``done``; or ``failed`` (``memory``, ``text``,
``unpacked``, ``password``, ``encoding`` or ``damaged``) and ``reason``.
"""

import importlib
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..platform.limits import limit_process
from ..platform.parent_death import on_end_of_input
from .text_encoding import UndecodableError, decode

MAX_UNPACKED_BYTES = 256 * 2**20
"""How large a packed document may be when it is unpacked, by what it says of itself."""

BLOCKS = ("p", "div", "li", "tr", "br", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "section", "article")


class Refused(Exception):
    """The document is not read, for a reason that has a name."""


def read_pdf(path: str) -> Iterator[tuple[str, float]]:
    """The text of each page, and how much is read."""
    pypdf: Any = importlib.import_module("pypdf")
    reader = pypdf.PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("password")
    count = len(reader.pages)
    for number, page in enumerate(reader.pages, 1):
        yield page.extract_text(), number / count


def read_docx(path: str) -> Iterator[tuple[str, float]]:
    """The text: paragraphs, and the rows of tables with tabs between their cells."""
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED_BYTES:
            raise Refused("unpacked")
    docx: Any = importlib.import_module("docx")
    parts: list[str] = []
    for block in docx.Document(path).iter_inner_content():
        if hasattr(block, "rows"):
            parts += ["\t".join(cell.text for cell in row.cells) for row in block.rows]
        else:
            parts.append(block.text)
    yield "\n".join(parts), 1.0


def read_html(path: str) -> Iterator[tuple[str, float]]:
    """The text that a browser would show, a line for each block."""
    bs4: Any = importlib.import_module("bs4")
    with open(path, "rb") as file:  # noqa: PTH123 (pathlib takes its time to import)
        soup = bs4.BeautifulSoup(decode(path, file.read()), "html.parser")
    for tag in soup(["script", "style", "template", "noscript"]):
        tag.decompose()
    for tag in soup(BLOCKS):
        tag.append("\n")
    lines = (" ".join(line.split()) for line in soup.get_text().splitlines())
    yield "\n".join(line for line in lines if line), 1.0


READERS = {"pdf": read_pdf, "docx": read_docx, "html": read_html}


def _say(**words: Any) -> None:
    line = json.dumps(words, ensure_ascii=False) + "\n"
    sys.stdout.buffer.write(line.encode("utf-8", "replace"))  # a damaged file may hold halves of characters
    sys.stdout.buffer.flush()


def _peak_bytes() -> int:
    """Return the largest address space of this process so far, where the system reports it."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        for line in status:
            if line.startswith("VmPeak:"):
                return int(line.split()[1]) * 1024
    return 0


def main(kind: str, path: str, memory_bytes: int, cpu_sec: int, text_bytes: int) -> None:
    """Read the document at ``path`` and print what it says."""
    on_end_of_input(lambda: os._exit(1))
    limit_process(memory_bytes=memory_bytes, cpu_sec=cpu_sec, writes=False)
    try:
        for text, share in READERS[kind](path):
            text_bytes -= len(text.encode("utf-8", "replace"))
            if text_bytes < 0:
                raise Refused("text")
            _say(page=text, share=share)
        _say(done=True)
    except Refused as refusal:
        _say(failed=str(refusal))
    except UndecodableError as error:
        _say(failed="encoding", reason=str(error))
    except MemoryError:
        _say(failed="memory")
    except Exception as error:  # the libraries raise whatever comes to pass in a damaged file
        if _peak_bytes() > memory_bytes * 3 // 4:  # what is native says so in words of its own, if it says it at all
            _say(failed="memory")
            return
        _say(failed="damaged", reason=f"{type(error).__name__}: {error}"[:1000])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:]))
    os._exit(0)
