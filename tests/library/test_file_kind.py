"""Errors about files that are no models: the kind of the file, from a fixed list, and nothing of its content."""

from __future__ import annotations

import json
import struct
import tomllib
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.errors import ConfigError, ModelFileError
from studiolo.library.catalog import Catalog
from studiolo.library.file_kind import file_kind
from studiolo.library.gguf_file import read_metadata
from studiolo.mcp.config import _read
from studiolo.paths import Home
from studiolo.server.token_file import read_api_tokens
from studiolo.settings import read_settings
from tests.support.command_line import run

pytestmark = pytest.mark.slow

SECRET = "password=hunter2 api_key=zebra4711"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (SECRET.encode(), "a text"),
        ("Passwörter".encode() * 100, "a text"),
        (SECRET.encode("utf-16"), "a text"),
        (b"\xef\xbb\xbf\n <html>" + SECRET.encode(), "HTML"),
        (b"PK\x03\x04" + SECRET.encode(), "a ZIP or PyTorch file"),
        (b"\x80\x02}q\x00" + SECRET.encode(), "a ZIP or PyTorch file"),
        (struct.pack("<Q", 40) + b'{"__metadata__": "' + SECRET.encode(), "safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + SECRET.encode(), "a Git LFS pointer"),
        (b"ggml" + SECRET.encode(), "a model in a format older than GGUF"),
        (bytes(600), "all zeros"),
        (b"\x7fELF\x02" + SECRET.encode(), "something else"),
        (b"\xff\x00" + SECRET.encode(), "something else"),
    ],
)
def test_a_file_is_named_by_its_kind_and_not_quoted(content: bytes, kind: str, tmp_path: Path) -> None:
    assert file_kind(content).startswith(kind)
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=kind) as caught:
        read_metadata(path)
    said = f"{caught.value} {caught.value.data}"
    assert not any(part in said for part in ("hunter2", "zebra", "0x", r"b'", "oid"))


@pytest.mark.parametrize(
    "rest",
    [
        b"Secr",  # the version
        struct.pack("<I", 3) + b"hunter2!zebra47!",  # the numbers of tensors and fields
        struct.pack("<IQQ", 3, 0, 1) + b"hunter2!",  # the length of a key
        struct.pack("<IQQQ", 3, 0, 1, 8) + b"hunter2!" + b"zebr",  # the type of a field
        struct.pack("<IQQQ", 3, 0, 1, 8) + b"hunter2!" + struct.pack("<I", 9) + b"zebr" + bytes(8),
        struct.pack("<IQQQ", 3, 1, 0, 8) + b"hunter2!" + b"zebr" + bytes(40),  # a tensor's dimensions
        struct.pack("<IQQQ", 3, 0, 1, 17) + b"general.alignment" + struct.pack("<I", 4) + b"zebr",
    ],
)
def test_a_damaged_header_is_not_quoted(rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + rest)
    with pytest.raises(ModelFileError) as caught:
        read_metadata(path)
    said = f"{caught.value} {caught.value.data}".replace(",", "")
    for secret in (b"Secr", b"hunter2!", b"zebra47!", b"zebr"):
        assert secret.decode() not in said and str(int.from_bytes(secret, "little")) not in said


def test_commands_and_the_sdk_do_not_quote_files(empty_home: Home, tmp_path: Path) -> None:
    (empty_home.models / "p").mkdir(parents=True)
    (empty_home.models / "p" / "x.gguf").write_text(SECRET)
    outside = tmp_path / "passwd"
    outside.write_text(SECRET)
    for words in (["ls"], ["ls", "--json"], ["doctor"], ["import", str(outside)], ["show", "x"]):
        done = run(empty_home, *words)
        said = done.stdout + done.stderr
        assert "hunter2" not in said and "zebra" not in said, words
    assert "a text" in run(empty_home, "ls").stdout
    with lm.Client("embedded") as client:
        for name in (str(outside), "x"):
            with pytest.raises(lm.StudioloError) as caught:
                client.llm.load_new_instance(name)
            assert "hunter2" not in f"{caught.value} {caught.value.data}"


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET} token",
        f'[server]\ntoken = "{SECRET}',
        f'[server]\n"{SECRET}" = 1\n"{SECRET}" = 2\n',
        "[hunter2.zebra]\n[hunter2.zebra]\n",
        'a = "hunter2\x07"',
    ],
)
def test_settings_and_catalogs_that_are_not_toml_are_located_and_not_quoted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    for read in (read_settings, Catalog.load):
        with pytest.raises(ConfigError, match=r"is not TOML.*at (line \d|end of)") as caught:
            read(path)
        assert "hunter2" not in str(caught.value) and "zebra" not in str(caught.value)


def test_lists_of_mcp_servers_and_of_tokens_are_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.touch(0o600)
    for text in (SECRET, json.dumps({"env": SECRET})[:-1], f'{{"env": {SECRET}}}'):
        path.write_text(text)
        for read in (_read, read_api_tokens):
            with pytest.raises(ConfigError) as caught:
                read(path)
            assert "hunter2" not in str(caught.value) and "zebra" not in str(caught.value)
    path.write_bytes(b"hunter2 \xe9")
    for read in (_read, read_api_tokens):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert "hunter2" not in str(caught.value)
