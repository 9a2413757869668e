"""Settings of models: which model a table is for, what is said of one that is for none, and the domain."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.config import LoadConfig
from studiolo.errors import ConfigError, DomainMismatchError
from studiolo.host.host import Host
from studiolo.host.settings_review import review
from studiolo.library import Library
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from studiolo.server.diagnosis import examine
from studiolo.settings import read_settings
from tests.support.fake_host import SETTINGS, embed, load
from tests.support.fake_models import add_model


def write(home: Home, text: str) -> None:
    home.settings.write_text(SETTINGS + text)
    os.utime(home.settings, ns=(0, home.settings.stat().st_mtime_ns + 1_000_000))


def add_variant(home: Home, name: str, quantization: str) -> Path:
    """Add a variant of a model that is there."""
    path = home.models / "fake" / name / f"{name}-{quantization}.gguf"
    path.write_bytes((home.models / "fake" / name / f"{name}.gguf").read_bytes())
    return path


@pytest.mark.parametrize(
    "key", ["alpha", "ALPHA", "fake/alpha", "Fake/Alpha", "fake/alpha/alpha.gguf", "alph", "fake/alpha/alpha"]
)
async def test_a_table_is_for_the_model_that_a_request_of_its_key_means(fake_host: Host, key: str) -> None:
    write(
        fake_host.home, f"[models.'{key}']\nload = {{ context_length = 333 }}\nprediction = {{ temperature = 0.5 }}\n"
    )
    instance = await load(fake_host, "alpha")
    assert instance.context_length == 333
    assert fake_host.base_prediction_config(instance).temperature == 0.5
    assert (await load(fake_host, "beta")).context_length != 333


async def test_a_table_of_a_path_is_for_a_file_outside_of_the_library(fake_host: Host, tmp_path: Path) -> None:
    file = tmp_path / "else where" / "other.gguf"
    file.parent.mkdir()
    file.write_bytes((fake_host.home.models / "fake" / "alpha" / "alpha.gguf").read_bytes())
    write(fake_host.home, f"[models.'{file}']\nload = {{ context_length = 333 }}\n")
    assert (await load(fake_host, str(file))).context_length == 333


async def test_a_variants_own_table_goes_before_that_of_all(fake_host: Host) -> None:
    for quantization in ("Q4_0", "Q8_0"):
        add_variant(fake_host.home, "gamma", quantization)
    (fake_host.home.models / "fake" / "gamma" / "gamma.gguf").unlink()
    write(
        fake_host.home,
        "[models.'gamma@q8_0']\nload.context_length = 64\n[models.gamma]\nload.context_length = 512\n",
    )
    lengths = [(await load(fake_host, name)).context_length for name in ("gamma@q8_0", "gamma@q4_0")]
    assert lengths == [64, 512]


async def test_an_embedding_models_table_may_leave_the_prefix_out(fake_host: Host) -> None:
    write(fake_host.home, "[models.vectors]\nload.context_length = 96\n")
    assert (await load(fake_host, "vectors", "embedding")).context_length == 96


WITHOUT_EFFECT = """
[models.alpah]
load = { context_length = 512 }
[models.alpha]
load = { context_length = 512 }
[models."alpha@q8_0"]
preset = "p"
[models."smollm2-135m-instruct"]
preset = "p"
[models.vectors]
domain = "llm"
[presets.p]
top_k = 1
"""


async def test_what_has_no_effect_is_said_once_with_the_line_and_the_nearest_name(
    fake_host: Host, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    write(fake_host.home, WITHOUT_EFFECT)
    with caplog.at_level(logging.WARNING, "studiolo.settings"):
        for _ in range(2):
            await load(fake_host, "alpha")
            await fake_host.review.settled()
        write(fake_host.home, WITHOUT_EFFECT + "[models.'x']\n")
        await load(fake_host, "alpha")
        await fake_host.review.settled()
    file, line = fake_host.home.settings, SETTINGS.count("\n")
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}:{line + 2}: models.alpah has no effect: no model of the library has this name. Did you mean 'alpha'?",
        f"{file}:{line + 6}: models.alpha@q8_0 has no effect: no model of the library has this name."
        " Did you mean 'alpha'?",
        f"{file}:{line + 11}: models.vectors.domain has no effect: text-embedding-vectors is an encoder (bert), which"
        " generates no text. Remove it.",
        f"{file}:{line + 14}: models.x has no effect: no model of the library has this name."
        " List the models with: studiolo ls.",
    ]


@pytest.mark.parametrize(
    ("table", "line", "setting", "what"),
    [
        ("[library]\nfolders = ['/no/such', '.']\nprograms = []", 2, "library.folders[0]", "/no/such is not a folder"),
        ("[library]\nprograms = ['ollama']", 2, "library.programs[0]", "Ollama has no models on this machine"),
        ("[server]\ntoken_file = '~/no-such'", 2, "server.token_file", "~/no-such is not a file"),
        ("[library]\nprograms = []\n[models.a]\nload.context_length = 5", 3, "models.a", "2 models match"),
    ],
)
async def test_other_settings_without_an_effect(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str, line: int, setting: str, what: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    add_model(empty_home, "aa")
    add_model(empty_home, "ab")
    empty_home.settings.write_text(table)
    library = Library(empty_home)
    try:
        (doubt,) = await review(read_settings(empty_home.settings), empty_home, library)
    finally:
        await library.close()
    assert doubt.where == f"{empty_home.settings}:{line}: {setting}" and what in doubt.what


def test_doctor_shows_them(empty_home: Home) -> None:
    add_model(empty_home, "alpha")
    empty_home.settings.write_text("[library]\nprograms = []\n[models.alhpa]\nload.context_length = 5\n")
    shown = [each for each in examine(empty_home) if each.what == "settings" and each.remedy]
    assert [each.remedy for each in shown] == ["Did you mean 'alpha'?"]
    assert "config.toml:3: models.alhpa has no effect" in shown[0].found
    empty_home.settings.write_text("[library]\nprograms = []\n[models.ALPHA]\nload.context_length = 5\n")
    assert not [each for each in examine(empty_home) if each.what == "settings" and each.remedy]


@pytest.fixture
def client(fake_home: Home) -> Iterator[lm.Client]:
    with lm.Client("embedded") as client:
        yield client
    background.run(close_hosts())


def test_the_settings_decide_what_a_model_is_used_as(fake_home: Home, client: lm.Client) -> None:
    write(fake_home, "[models.ALPHA]\ndomain = 'embedding'\nload = { pooling_type = 'mean' }\n")
    assert [each.model_key for each in client.embedding.list_downloaded()] == [
        "text-embedding-alpha",
        "text-embedding-vectors",
    ]
    assert [each.model_key for each in client.llm.list_downloaded()] == ["beta", "gamma"]
    model = client.embedding.model("alpha")
    assert model.embed("hi") and model.get_load_config().pooling_type == "mean"
    with pytest.raises(lm.DomainMismatchError, match=r'domain = "llm" in config\.toml'):
        client.llm.model("alpha")
    write(fake_home, "[models.text-embedding-alpha]\ndomain = 'embedding'\n")
    assert client.embedding.load_new_instance("alpha").get_load_config().pooling_type == "last"
    write(fake_home, "")
    assert "alpha" in [each.model_key for each in client.llm.list_downloaded()]


async def test_an_encoder_stays_an_embedding_model(fake_host: Host) -> None:
    write(fake_host.home, "[models.vectors]\ndomain = 'llm'\n")
    assert await embed(fake_host, "vectors")


def test_a_call_decides_for_itself(client: lm.Client) -> None:
    with pytest.raises(lm.DomainMismatchError, match=r'\[models\."alpha"\] domain = "embedding" in config\.toml'):
        client.embedding.model("alpha")
    llm = client.llm.model("alpha")
    one = client.embedding.model("alpha", domain="embedding", config={"pooling_type": "cls"})
    assert one.identifier == "text-embedding-alpha" and one.embed("hi")
    assert client.embedding.model("alpha", domain="embedding") == one
    two = client.embedding.load_new_instance("alpha", "two", domain="embedding")
    assert (one.get_load_config().pooling_type, two.get_load_config().pooling_type) == ("cls", "last")
    assert client.llm.model("alpha", domain="llm") == llm
    with pytest.raises(lm.ConfigError, match=r"this is client\.llm"):
        client.llm.model("alpha", domain="embedding")


async def test_an_llm_refuses_a_pooling_type(fake_host: Host) -> None:
    model = await fake_host.find_model("alpha")
    with pytest.raises(ConfigError, match=r"'pooling_type' has no effect on alpha, which is an LLM.*embedding"):
        await fake_host.load(model, LoadConfig(pooling_type="mean"))
    write(fake_host.home, "[models.alpha]\nload = { pooling_type = 'mean' }\n")
    with pytest.raises(ConfigError, match="pooling_type"):
        await load(fake_host, "alpha")
    with pytest.raises(DomainMismatchError):
        await load(fake_host, "alpha", "embedding")
