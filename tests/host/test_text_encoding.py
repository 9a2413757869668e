"""Text files of any encoding: the text, or an error that names the byte and the user's file."""

# ruff: noqa: RUF001 (letters of several scripts)

from __future__ import annotations

from pathlib import Path

import pytest

import studiolo as lm
from studiolo.errors import FilesError
from studiolo.host.documents import Documents
from studiolo.host.files import FileStore
from studiolo.host.text_encoding import UndecodableError, decode

GERMAN = "Der Schlüssel heißt Äpfel-42 – 5 €."
JAPANESE = "これは日本語の文章です。鍵は四十二。"
RUSSIAN = "Ключ к этой двери лежит под ковриком, а ковёр лежит в прихожей."


@pytest.mark.parametrize(
    "data",
    [
        GERMAN.encode(),
        GERMAN.encode("utf-8-sig"),
        GERMAN.encode("utf-16"),
        b"\xff\xfe" + GERMAN.encode("utf-16-le"),
        b"\xfe\xff" + GERMAN.encode("utf-16-be"),
        GERMAN.encode("utf-32"),
        b"\0\0\xfe\xff" + GERMAN.encode("utf-32-be"),
        GERMAN.encode("cp1252"),
    ],
)
def test_text_with_a_mark_in_utf_8_and_in_cp1252_is_exact(data: bytes) -> None:
    assert decode("note.txt", data) == GERMAN


def test_latin_1_and_utf_16_without_a_mark() -> None:
    plain = GERMAN.replace("–", "-").replace("€", "E")
    for encoding in ("latin-1", "utf-16-le", "utf-16-be"):
        assert decode("note.txt", plain.encode(encoding)) == plain


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.py", "# -*- coding: shift_jis -*-\nx = '日本語'\n", "shift_jis"),
        ("a.py", "#!/usr/bin/python\n# vim: set fileencoding=latin-1 :\nx = 'é'\n", "latin-1"),
        ("a.xml", '<?xml version="1.0" encoding="windows-1251"?><a>ключ</a>', "cp1251"),
        ("a.xml", '<?xml version="1.0" encoding="utf-16"?><a>ключ</a>', "utf-16"),
        ("a.html", '<html><head><meta charset="euc-jp"></head>日本語', "euc-jp"),
        ("a.htm", '<meta http-equiv="Content-Type" content="text/html; charset=ISO-8859-1">5 € – naïve', "cp1252"),
        ("a.css", '@charset "iso-8859-15";\na::before { content: "€" }', "iso-8859-15"),
        ("a.md", "# Encoding: latin-1 is old\n\nnaïve – 日本語", "utf-8"),
        ("a.html", '<meta charset="rot13"><meta charset="unheard-of">naïve', "utf-8"),
    ],
)
def test_a_declaration_in_the_file_counts(name: str, text: str, encoding: str) -> None:
    assert decode(name, text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (JAPANESE.encode("shift_jis"), "neither UTF-8 nor UTF-16: the byte 0x82 at position 0"),
        (b"ok \x81\x8d", "the byte 0x81 at position 3"),
        (RUSSIAN.encode("cp1251"), "neither UTF-8 nor UTF-16"),
        (JAPANESE.encode("euc-jp"), "neither UTF-8 nor UTF-16"),
        (b"one\0two", "a NUL byte at position 3"),
        (b"\xef\xbb\xbfgood \xff", "byte order mark of UTF-8, and the bytes at position 8"),
        (b"\xff\xfea\0b", "byte order mark of UTF-16-LE, and the bytes at position 4"),
        (b"\xff\xfea\0\0\xd8b\0", "at position 4"),
        (bytes(range(256)), "neither UTF-8 nor UTF-16"),
    ],
)
def test_other_bytes_are_refused_at_their_place(data: bytes, says: str) -> None:
    with pytest.raises(UndecodableError, match=says):
        decode("note.txt", data)


def test_a_sample_may_end_within_a_character() -> None:
    assert decode("a", "aé".encode()[:-1], whole=False) == "a"
    assert decode("a", "aé".encode("utf-16")[:-1], whole=False) == "a"


@pytest.mark.parametrize("name", ["note.txt", "note.md", "note.csv", "note.json", "note.html"])
async def test_errors_name_the_file_of_the_user(name: str, tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    identifier = files.add(name, JAPANESE.encode("shift_jis")).identifier
    with pytest.raises(FilesError, match=rf"'{name}' is not a document .* position 0 .*Save text as UTF-8"):
        await Documents(files).read(identifier, lambda _: None)


def test_documents_through_a_client(empty_home: object) -> None:
    with lm.Client("embedded") as client:
        for encoding in ("utf-8-sig", "utf-16", "cp1252"):
            handle = client.files.prepare_file(GERMAN.encode(encoding), "note.txt")
            assert handle.file_type == "text/plain"
            assert client.files.parse_document(handle).content == GERMAN
        handle = client.files.prepare_file(b"binary\0data", "note.txt")
        for ask in (client.files.parse_document, client.files.get_document_parsing_library):
            if ask == client.files.parse_document:
                with pytest.raises(FilesError, match=r"'note.txt' .* NUL byte at position 6"):
                    ask(handle)
