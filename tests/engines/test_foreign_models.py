"""Models as other programs keep them, and in shards, in a real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from studiolo.library import Library
from studiolo.paths import Home
from tests.support.command_line import good, run
from tests.support.models.vision import write_text_model


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user of other programs."""
    user = tmp_path / "user"
    monkeypatch.setenv("HOME", str(user))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return user


def weights(quick_home: Home) -> Path:
    return next(quick_home.models.rglob("SmolLM2*.gguf"))


def of_lm_studio(user: Path, model: Path) -> None:
    place = user / ".lmstudio" / "models" / "community" / "Smol-GGUF" / "Smol-Q4_1.gguf"
    place.parent.mkdir(parents=True)
    place.symlink_to(model)


def of_the_hugging_face_cache(user: Path, model: Path) -> None:
    repository = user / ".cache" / "huggingface" / "hub" / "models--community--Smol-GGUF"
    blob, link = repository / "blobs" / ("0" * 64), repository / "snapshots" / "abc" / "Smol-Q4_1.gguf"
    for folder in (blob.parent, link.parent):
        folder.mkdir(parents=True)
    blob.symlink_to(model)
    link.symlink_to("../../blobs/" + blob.name)


def of_ollama(user: Path, model: Path) -> None:
    store = user / ".ollama" / "models"
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / "smol" / "135m"
    blob = store / "blobs" / ("sha256-" + "0" * 64)
    for folder in (blob.parent, manifest.parent):
        folder.mkdir(parents=True)
    blob.symlink_to(model)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "0" * 64}
    manifest.write_text(json.dumps({"layers": [layer]}))


@pytest.mark.parametrize(
    ("put", "name"),
    [(of_lm_studio, "smol"), (of_the_hugging_face_cache, "community/smol"), (of_ollama, "smol:135m")],
)
def test_a_model_of_another_program_runs(
    empty_home: Home, quick_home: Home, user: Path, put: Callable[[Path, Path], None], name: str
) -> None:
    empty_home.settings.unlink()
    put(user, weights(quick_home))
    done = run(empty_home, "complete", "My name is", "-m", name, "--max-tokens", "3", "--temperature", "0", "--json")
    assert json.loads(good(done))["stats"]["predicted_tokens_count"] == 3
    (model,) = json.loads(good(run(empty_home, "ls", "--json")))
    assert "error" not in model
    assert not empty_home.models.exists(), "nothing was copied"


async def test_a_model_in_shards_runs(empty_home: Home, quick_home: Home) -> None:
    folder = empty_home.models / "me" / "split"
    folder.mkdir(parents=True)
    write_text_model(folder / "split.gguf", weights(quick_home), tensors_a_file=7)
    library = Library(empty_home)
    (model,) = await library.models()
    await library.close()
    assert model.key == "split" and len(model.parts) == 3 and model.error is None
    assert model.metadata is not None and model.metadata.params_string == "607K"
    words = ("complete", "My name is", "-m", "split", "--max-tokens", "3", "--temperature", "0", "--json")
    assert json.loads(good(run(empty_home, *words)))["stats"]["predicted_tokens_count"] == 3
    model.parts[1].unlink()
    done = run(empty_home, *words)
    assert done.returncode == 1 and "Shard 2 of 3 is missing" in done.stderr
