"""Finding and getting models through the clients, from a fake hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.model_files import write_gguf
from tests.support.running import Server, serving
from tests.support.web import Web, go_nowhere_else

pytestmark = pytest.mark.web


@pytest.fixture(scope="module", autouse=True)
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("hub")
    content = write_gguf(folder / "made.gguf").read_bytes()
    with Web() as web, pytest.MonkeyPatch.context() as patch:
        for name in ("Q2_K", "Q4_K_M", "Q8_0"):
            web.add_file("me/tiny-GGUF", f"tiny-{name}.gguf", content)
        go_nowhere_else(patch, web, folder)
        yield


@pytest.fixture(scope="module")
def shared(hub: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Home]]:
    folder = tmp_path_factory.mktemp("repository")
    home = Home(folder / "home")
    home.root.mkdir()
    home.settings.write_text("[library]\nprograms = []\n")
    with serving(home, folder, "--no-load") as server:
        yield server, home


@pytest.fixture
def server(shared: tuple[Server, Home]) -> Iterator[Server]:
    """The server of all tests here; what a test downloads is removed."""
    server, home = shared
    yield server
    for model in home.models.rglob("*.gguf"):
        model.unlink()


def get_through(client: Any) -> list[str]:
    """Search, look at the options, download one; the same calls for the official client and ours."""
    (model,) = client.repository.search_models("tiny", limit=5)
    assert model.search_result.name == "tiny-GGUF"
    assert model.search_result.identifier.identifier == "me/tiny-GGUF"
    options = model.get_download_options()
    (recommended,) = [option for option in options if option.info.recommended]
    assert recommended.info.quantization == "Q4_K_M"
    assert recommended.info.size_bytes > 0
    assert recommended.info.fit_estimation in ("fitWithoutGPU", "fullGPUOffload", "partialGPUOffload")
    heard: list[str] = []
    key = recommended.download(
        lambda update: heard.append(f"{update.downloaded_bytes}/{update.total_bytes}"),
        lambda: heard.append("finalizing"),
    )
    assert heard[-1] == "finalizing" or heard[-1].split("/")[0] == heard[-1].split("/")[1]
    assert "finalizing" in heard
    assert [each.model_key for each in client.list_downloaded_models()] == [key]
    return [option.info.quantization for option in options]


def test_our_client_embedded(empty_home: Home) -> None:
    with lm.Client("embedded") as client:
        assert get_through(client) == ["Q2_K", "Q4_K_M", "Q8_0"]


def test_our_client_served(server: Server) -> None:
    with lm.Client(server.address) as client:
        assert get_through(client) == ["Q2_K", "Q4_K_M", "Q8_0"]
        with pytest.raises(lm.ConfigError, match="from 1 to 25"):
            client.repository.search_models("x", limit=26)
        assert client.repository.search_models("tiny", compatibility_types=["onnx"]) == []
        with pytest.raises(lm.StudioloError):
            client.repository.download("nobody/nothing")


def test_the_official_client(server: Server) -> None:
    import lmstudio

    with lmstudio.Client(server.address) as client:
        assert get_through(client) == ["Q2_K", "Q4_K_M", "Q8_0"]


async def test_our_async_client(server: Server) -> None:
    async with lm.AsyncClient(server.address) as client:
        (model,) = await client.repository.search_models("tiny")
        options = await model.get_download_options()
        assert await options[0].download()
        assert "Q2_K" in repr(options[0]) and "tiny" in repr(model)
