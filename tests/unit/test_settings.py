"""The settings file: read, checked, read again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.credentials import new_api_token
from studiolo.errors import ConfigError
from studiolo.library.catalog import Catalog
from studiolo.sdk.discovery import find_token
from studiolo.server.token_file import read_api_tokens
from studiolo.settings import Settings, SettingsFile, read_settings


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
    return path


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "config.toml") == Settings()


def test_every_table_is_read(tmp_path: Path) -> None:
    settings = read_settings(
        write(
            tmp_path / "config.toml",
            """
            [library]
            folders = ["/data/models"]
            programs = ["ollama"]
            [loading]
            guardrail = 8_000_000_000
            jit_ttl_sec = 60
            [limits]
            queue_length = 3
            [engine]
            name = "llama-server"
            llama_server = "/opt/llama-server"
            [server]
            port = 4321
            [models."a@q4_k_m"]
            load = { contextLength = 512 }
            prediction = { temperature = 0 }
            preset = "precise"
            [presets.precise]
            top_k = 1
            """,
        )
    )
    assert settings.library.folders == ("/data/models",)
    assert settings.library.programs == ("ollama",)
    assert settings.loading.guardrail == 8_000_000_000
    assert settings.loading.jit_ttl_sec == 60
    assert settings.limits.queue_length == 3
    assert settings.engine.llama_server == "/opt/llama-server"
    assert settings.server.port == 4321
    assert settings.models["a@q4_k_m"].load == LoadConfig(context_length=512)
    assert settings.models["a@q4_k_m"].prediction == PredictionConfig(temperature=0)
    assert settings.presets["precise"] == PredictionConfig(top_k=1)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[nothing]", "nothing"),
        ("library = 1", "library"),
        ("[library]\nfolders = 'x'", "library.folders"),
        ("[library]\nprograms = ['gpt4all']", "library.programs[0]"),
        ("[loading]\nguardrail = 'tight'", "loading.guardrail"),
        ("[loading]\njit_ttl = 5", "loading.jit_ttl"),
        ("[limits]\nqueue_length = -1", "limits.queue_length"),
        ("[limits]\nqueue_wait_sec = 0", "limits.queue_wait_sec"),
        ("[server]\nport = 70000", "server.port"),
        ("[models.a]\nload = { context = 5 }", "models.a.load"),
        ("[models.a]\nprediction = { temperature = 'hot' }", "models.a.prediction"),
        ("[models.a]\nttl = 5", "models.a.ttl"),
        ("[models.a]\ndomain = 'vision'", "models.a.domain"),
        ("[models.a]\npreset = 'none'", "models.a.preset"),
        ("[presets.p]\ntop_p = 7", "presets.p"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, text: str, field: str) -> None:
    path = write(tmp_path / "config.toml", text)
    with pytest.raises(ConfigError, match="is wrong") as caught:
        read_settings(path)
    line = text.count("\n") + 1
    assert caught.value.data == {"file": str(path), "field": field, "line": line}
    assert caught.value.title.startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("text", "line", "suggestion"),
    [
        ("# for work\n\n[lodaing]\njit = true", 3, "Did you mean 'loading'?"),
        ("[loading]\njit = true\njitt = true", 3, "Did you mean 'jit'?"),
        ("[server]\nhost = '::1'\nprot = 5", 3, "Did you mean 'port'?"),
        ("[limits]\nqueue_lenght = 5", 2, "Did you mean 'queue_length'?"),
        ("[engine]\nzzz = 5", 2, "there are name, llama_server"),
        ("[models.'a.b@q4']\npreset = 'p'\n[presets.q]\ntop_k = 1", 2, ""),
        ("[presets.precise]\n[models.a]\npreset = 'precice'", 3, "Did you mean 'precise'?"),
        ("[models.'a.b']\nlaod = {}", 2, "Did you mean 'load'?"),
        ("[models.a.load]\ncontext_length = 512\ncontext_lenth = 5", 3, "Did you mean 'context_length'?"),
        ("[models.a]\nload.contextLength = 512\nload.seeed = 5", 3, "Did you mean 'seed'?"),
        ("[presets.p]\nstop_strings = [\n 'a',\n]\ntemperatur = 5", 5, "Did you mean 'temperature'?"),
        ('[server]\nhost = """\nprot = 1\n"""\nprot = 5', 5, "Did you mean 'port'?"),
    ],
)
def test_a_wrong_field_is_reported_with_its_line_and_the_nearest_name(
    tmp_path: Path, text: str, line: int, suggestion: str
) -> None:
    path = write(tmp_path / "config.toml", text)
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert f"config.toml:{line}: " in caught.value.title and suggestion in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("\ufeff[server]\nport = 1".encode("utf-16"), "UTF-16"),
        ("[server]\nport = 1".encode("utf-16-le"), "UTF-16"),
        ("[server]\nport = 1".encode("utf-16-be"), "UTF-16"),
        ("[server]\nport = 1".encode("utf-32"), "UTF-32"),
        ("[server]\n# für mich\nport = 1".encode("latin-1"), "Latin-1"),
    ],
)
@pytest.mark.parametrize("read", [read_settings, Catalog.load, read_api_tokens])
def test_a_file_of_another_encoding_is_refused_by_its_name(
    tmp_path: Path, content: bytes, encoding: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"file is not UTF-8. It seems to be {encoding}.*Save it as UTF-8") as caught:
        read(path)
    assert "line 2" in str(caught.value) or encoding != "Latin-1"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_is_left_out(tmp_path: Path, newline: str) -> None:
    path, token = tmp_path / "file", new_api_token()
    path.write_bytes(f"[server]{newline}port = 7{newline}".encode("utf-8-sig"))
    assert read_settings(path).server.port == 7
    entry = newline.join(("[models.x]", "file = 'p/x/x.gguf'", "sources = [{ type = 'file', path = '/x.gguf' }]"))
    path.write_bytes(entry.encode("utf-8-sig"))
    assert "x" in Catalog.load(path)
    path.write_bytes(f"{token}{newline}".encode("utf-8-sig"))
    path.chmod(0o600)
    assert read_api_tokens(path) == [token]


def test_an_api_token_in_the_environment_may_end_with_a_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    token = new_api_token()
    monkeypatch.setenv("LM_API_TOKEN", f"\ufeff{token}\r\n")
    assert find_token(None).token == token


def test_a_path_with_backslashes_in_double_quotes_is_an_error_that_shows_how(tmp_path: Path) -> None:
    path = write(tmp_path / "config.toml", '[library]\nfolders = ["C:\\Users\\me"]')
    with pytest.raises(ConfigError, match=r"is not TOML.*line 2.*single quotes"):
        read_settings(path)


def test_a_file_that_is_not_toml_is_an_error_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not TOML.*line 2"):
        read_settings(write(tmp_path / "config.toml", "[library]\nfolders = ]"))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "config.toml")
    assert file.current().server.port == 1234
    write(file.path, "[server]\nport = 1")
    assert file.current().server.port == 1
    file.path.unlink()
    assert file.current().server.port == 1234


def test_a_change_for_the_worse_leaves_the_earlier_settings_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = SettingsFile(write(tmp_path / "config.toml", "[server]\nport = 1"))
    assert file.current().server.port == 1
    write(file.path, "[server]\nport = 'one'")
    with caplog.at_level(logging.ERROR):
        assert file.current().server.port == 1
        assert file.current().server.port == 1
    assert len(caplog.records) == 1  # once
    assert "server.port" in caplog.text
    write(file.path, "[server]\nport = 22")
    assert file.current().server.port == 22


def test_the_page_has_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    table = page.partition("| setting |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    reported = {name.strip(" `"): default.strip(" `") for name, default in rows}
    actual: dict[str, str] = {}
    for table in ("library", "loading", "limits", "engine", "server", "store"):
        defaults = getattr(Settings(), table)
        for field in defaults.__struct_fields__:
            value = getattr(defaults, field)
            value = list(value) if isinstance(value, tuple) else value
            actual[f"{table}.{field}"] = "" if value is None else json.dumps(value)
    assert reported == actual


def test_the_pages_example_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    example = page.rpartition("```toml\n")[2].partition("```")[0]
    settings = read_settings(write(tmp_path / "config.toml", example))
    assert settings.models["smollm2-135m-instruct"].preset == "precise"
