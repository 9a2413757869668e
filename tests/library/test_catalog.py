from __future__ import annotations

from pathlib import Path

import pytest

from studiolo.errors import ConfigError
from studiolo.library.catalog import Catalog
from studiolo.library.model import base_key


def test_what_is_built_in() -> None:
    catalog = Catalog.load()
    chat, embedding = catalog.default(), catalog.default("embedding")
    assert chat is not None and chat.key == chat.name == "smollm2-135m-instruct"
    assert embedding is not None and embedding.key == "text-embedding-nomic-embed-text-v1.5"
    for name, entry in catalog.items():
        assert entry.name == name == base_key(Path(entry.file).name)
        assert entry.sha256 and entry.size_bytes and entry.license and entry.publisher
        assert [source["type"] for source in entry.sources] == ["pypi", "hf"]


@pytest.mark.parametrize(
    "name",
    [
        "gemma-3-270m",
        "Gemma-3-270M",
        "google/gemma-3-270m",
        "google/gemma-3-270m-GGUF",
        "google/gemma-3-270m-GGUF/gemma-3-270m-q4_k_m.gguf",
    ],
)
def test_an_entry_is_found_by_its_names(name: str) -> None:
    entry = Catalog.load().find(name)
    assert entry is not None and entry.name == "gemma-3-270m"


@pytest.mark.parametrize(
    "name",
    [
        "nomic-embed-text-v1.5",
        "text-embedding-nomic-embed-text-v1.5",
        "nomic-ai/nomic-embed-text-v1.5",
        "nomic-ai/nomic-embed-text-v1.5-GGUF",
    ],
)
def test_an_embedding_model_is_found_with_and_without_its_prefix(name: str) -> None:
    entry = Catalog.load().find(name)
    assert entry is not None and entry.name == "nomic-embed-text-v1.5"


def test_a_name_that_is_none() -> None:
    catalog = Catalog.load()
    assert catalog.find("gemma") is None
    assert catalog.find("") is None


def test_the_users_file_adds_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(
        """
        [models.mine]
        default = true
        file = "me/mine/mine.Q8_0.gguf"
        sources = [{ type = "file", path = "/somewhere/mine.gguf" }]

        [models.gemma-3-270m]
        sources = [{ type = "hf", repo = "a/b", file = "c.gguf" }]
        """
    )
    catalog = Catalog.load(file)
    assert catalog.default() is catalog["mine"]
    assert catalog.default("embedding") is catalog["nomic-embed-text-v1.5"], "each domain has a default of its own"
    assert [source["type"] for source in catalog["gemma-3-270m"].sources] == ["hf"]
    assert catalog["gemma-3-270m"].sha256 == Catalog.load()["gemma-3-270m"].sha256
    assert "smollm2-135m-instruct" in catalog


GOOD = 'file = "a/b/x.Q4_0.gguf"\nsources = [{ type = "file", path = "/x.gguf" }]\n'


@pytest.mark.parametrize(
    ("text", "field", "cause"),
    [
        ("[models.x]\n" + GOOD + "size_bytes = 'big'", "models.x.size_bytes", "Expected 'int"),
        ("[models.x]\n" + GOOD + "size_bytes = 0", "models.x.size_bytes", ">= 1"),
        ("[models.x]\n" + GOOD + "sha256 = 'abc'", "models.x.sha256", "matching regex"),
        ("[models.x]\n" + GOOD + "colour = 'red'", "models.x.colour", "no such setting"),
        ("[models.x]\n" + GOOD + "domain = 'drafter'", "models.x.domain", "Invalid enum value 'drafter'"),
        ("[models.x]\n" + GOOD + "name = 'y'", "models.x.name", "the table's header"),
        ("[models.x]\nfile = 'a/b/x.gguf'", "models.x.sources", "missing required"),
        ("[models.x]\nfile = 'a/b/x.gguf'\nsources = []", "models.x.sources", "length >= 1"),
        ("[models.y]\n" + GOOD, "models.y.file", "has the key 'x', not 'y'"),
        ("[models.x]\n" + GOOD.replace("a/b/", "../"), "models.x.file", "relative path"),
        ("[models.x]\n" + GOOD.replace("a/b/", "/a/"), "models.x.file", "relative path"),
        ("[models.X]\n" + GOOD, "models.X", "lower-case"),
        ("[models.x]\n" + GOOD.replace('"file"', '"ftp"'), "models.x.sources[0].type", "only file, hf, https, pypi"),
        ("[models.x]\n" + GOOD.replace('type = "file", ', ""), "models.x.sources[0].type", "missing required"),
        ("[models.x]\n" + GOOD.replace('path = "/x', 'path = "x'), "models.x.sources[0]", "absolute path"),
        ("[models.x]\n" + GOOD.replace("path", "plath"), "models.x.sources[0].", "missing required|no such setting"),
        ("[models]\nx = 1", "models.x", "a table"),
        ("models = 1", "models", "a table"),
        ("[model.x]\n" + GOOD, "model", "no such table. Did you mean 'models'"),
    ],
)
def test_a_wrong_entry_is_an_error_with_file_and_field(tmp_path: Path, text: str, field: str, cause: str) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=cause) as caught:
        Catalog.load(file)
    assert str(file) in caught.value.title
    assert f" {field}" in caught.value.title


def test_a_file_that_is_not_toml_is_an_error_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text("[models.x\n")
    with pytest.raises(ConfigError, match=r"catalog\.toml is not TOML.*line 1"):
        Catalog.load(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        Catalog.load(file)
