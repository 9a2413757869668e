from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from studiolo.library import Library
from studiolo.library import other_programs as programs_module
from studiolo.library.other_programs import program_folders
from studiolo.paths import Home
from studiolo.server.diagnosis import examine
from tests.support.model_files import write_gguf

pytestmark = pytest.mark.quick_model


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user who has none of the programs."""
    user = tmp_path / "user"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(programs_module, "_OLLAMA_SERVICE", tmp_path / "service")
    return user


@pytest.fixture
async def library(user: Path, empty_home: Home) -> AsyncIterator[Library]:
    """A library of a user, with every program looked for."""
    empty_home.settings.unlink()
    library = Library(empty_home)
    yield library
    await library.close()


async def keys(library: Library) -> dict[str, str]:
    """Relative paths by key."""
    return {model.key: model.relative_path for model in await library.models()}


async def test_no_programs(library: Library) -> None:
    assert await library.models() == []
    assert program_folders("lmstudio") == program_folders("huggingface") == program_folders("ollama") == []


@pytest.mark.parametrize("place", [".lmstudio", ".cache/lm-studio"])
async def test_lm_studio(library: Library, user: Path, place: str) -> None:
    models = user / place / "models"
    path = write_gguf(models / "community" / "Tiny-GGUF" / "Tiny-Q4_0.gguf")
    (model,) = await library.models()
    assert (model.key, model.path, model.origin) == ("tiny", path, "lmstudio")
    assert model.relative_path == "community/Tiny-GGUF/Tiny-Q4_0.gguf" and model.publisher == "community"
    assert program_folders("lmstudio") == [models]


async def test_lm_studio_moved(library: Library, user: Path, tmp_path: Path) -> None:
    write_gguf(user / ".lmstudio" / "models" / "old.gguf")
    write_gguf(tmp_path / "moved" / "models" / "new.gguf")
    write_gguf(tmp_path / "downloads" / "more.gguf")
    (user / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'moved'}\n")
    assert list(await keys(library)) == ["new"]
    (tmp_path / "moved" / "settings.json").write_text(json.dumps({"downloadsFolder": str(tmp_path / "downloads")}))
    assert list(await keys(library)) == ["more", "new"]
    for nonsense in ("[", "[]", '{"downloadsFolder": 3}', '{"downloadsFolder": "relative"}', "[" * 100_000):
        (tmp_path / "moved" / "settings.json").write_text(nonsense)
        assert list(await keys(library)) == ["new"]
    (user / ".lmstudio-home-pointer").write_text("/nowhere")
    assert list(await keys(library)) == ["old"]


def cached(cache: Path, repository: str, revision: str, name: str, content: bytes) -> Path:
    """Put a file into a hub cache in its own way: a blob, and a link to it in the snapshot."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link = folder / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(Path("../" * (2 + name.count("/"))) / "blobs" / blob.name)
    return link


@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        (None, None, "user/.cache/huggingface/hub"),
        ("XDG_CACHE_HOME", "cache", "cache/huggingface/hub"),
        ("HF_HOME", "hf", "hf/hub"),
        ("HF_HUB_CACHE", "hub", "hub"),
    ],
)
async def test_the_hugging_face_cache(
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    value: str | None,
    place: str,
) -> None:
    if variable and value:
        monkeypatch.setenv(variable, str(tmp_path / value))
    cache = tmp_path / place
    old = write_gguf(tmp_path / "old", general__name="old").read_bytes()
    new = write_gguf(tmp_path / "new", general__name="new").read_bytes()
    eye = write_gguf(tmp_path / "eye", arch="clip", weights=64).read_bytes()
    cached(cache, "org/Tiny-GGUF", "rev2", "Tiny-Q4_0.gguf", old)
    cached(cache, "org/Tiny-GGUF", "rev1", "Tiny-Q4_0.gguf", new)
    main = cache / "models--org--Tiny-GGUF" / "refs" / "main"
    main.parent.mkdir()
    main.write_text("rev1")
    cached(cache, "org/Tiny-GGUF", "rev1", "mmproj-F16.gguf", eye)
    cached(cache, "org/Tiny-GGUF", "rev2", "Q8_0/Tiny-Q8_0.gguf", new + b"\0" * 32)
    cached(cache, "gpt2", "rev", "gpt2.gguf", old + b"\0" * 64)
    (cache / "datasets--org--x").mkdir()
    (cache / "models--org--empty").mkdir()
    models = {model.relative_path: model for model in await library.models()}
    assert list(models) == ["gpt2/gpt2.gguf", "org/Tiny-GGUF/Q8_0/Tiny-Q8_0.gguf", "org/Tiny-GGUF/Tiny-Q4_0.gguf"]
    tiny = models["org/Tiny-GGUF/Tiny-Q4_0.gguf"]
    assert tiny.metadata is not None and tiny.metadata.name == "new", "not the one of the revision called main"
    assert tiny.vision and tiny.mmproj is not None and tiny.mmproj.name == "mmproj-F16.gguf"
    assert tiny.publisher == "org" and tiny.origin == "huggingface"
    assert (await library.resolve("org/tiny@q4_0")).path == tiny.path


async def test_shards_in_the_hugging_face_cache(library: Library, user: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        content = write_gguf(tmp_path / f"part{number}", general__name=str(number)).read_bytes()
        cached(user / ".cache/huggingface/hub", "org/Big", "r", f"Q8_0/big-Q8_0-0000{number}-of-00002.gguf", content)
    (model,) = await library.models()
    assert len(model.parts) == 2 and model.error is None
    assert model.path.name == "big-Q8_0-00001-of-00002.gguf", "the engine finds the others by its name"


def pulled(store: Path, name: str, *layers: tuple[str, bytes]) -> Path:
    """Put a model into a store in Ollama's way; returns its manifest."""
    entries: list[dict[str, Any]] = []
    for kind, content in layers:
        digest = hashlib.sha256(content).hexdigest()
        blob = store / "blobs" / f"sha256-{digest}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        entries.append({"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)})
    manifest = store / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": entries}))
    return manifest


MODEL = "application/vnd.ollama.image.model"
PROJECTOR = "application/vnd.ollama.image.projector"


@pytest.mark.parametrize("place", ["user/.ollama/models", "service", "named"])
async def test_ollama(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    store = tmp_path / place
    if place == "named":
        monkeypatch.setenv("OLLAMA_MODELS", str(store))

    def weights(name: str) -> bytes:
        return write_gguf(tmp_path / name, general__name=name, general__file_type=15).read_bytes()

    eye = write_gguf(tmp_path / "eye", arch="clip", weights=64).read_bytes()
    ours = "registry.ollama.ai"
    pulled(
        store, f"{ours}/library/llama3.2/3b", ("application/vnd.ollama.image.template", b"x"), (MODEL, weights("3b"))
    )
    pulled(store, f"{ours}/library/llama3.2/1b", (MODEL, weights("1b")))
    pulled(store, f"{ours}/library/llama3.2/latest", (MODEL, weights("3b")))
    pulled(store, f"{ours}/library/llava/7b", (MODEL, weights("llava")), (PROJECTOR, eye))
    pulled(store, f"{ours}/library/phi/latest", (MODEL, weights("phi")))
    pulled(store, f"{ours}/me/mine/v1", (MODEL, weights("mine")))
    pulled(store, "hf.co/org/Tiny-GGUF/Q4_K_M", (MODEL, weights("tiny")))
    pulled(store, f"{ours}/library/tensors/latest", ("application/vnd.ollama.image.tensor", b"x"))
    gone = pulled(store, f"{ours}/library/gone/latest", (MODEL, b"gone"))
    digest = json.loads(gone.read_text())["layers"][0]["digest"]
    (store / "blobs" / digest.replace(":", "-")).unlink()
    for number, nonsense in enumerate(
        ("", "[", "[]", '{"layers": 1}', '{"layers": [1, {"mediaType": 1}, {"digest": "../../x"}]}')
    ):
        pulled(store, f"{ours}/library/nonsense/{number}").write_text(nonsense)
    assert await keys(library) == {
        "llama3.2@1b": "llama3.2:1b",
        "llama3.2@3b": "llama3.2:3b",
        "llava@7b": "llava:7b",
        "mine@v1": "me/mine:v1",
        "phi": "phi:latest",
        "tiny@q4_k_m": "hf.co/org/Tiny-GGUF:Q4_K_M",
    }
    for name, key in {
        "llama3.2:1b": "llama3.2@1b",
        "llama3.2@3b": "llama3.2@3b",
        "llava": "llava@7b",
        "LLaVA:7b": "llava@7b",
        "me/mine": "mine@v1",
        "hf.co/org/Tiny-GGUF:Q4_K_M": "tiny@q4_k_m",
        "phi:latest": "phi",
    }.items():
        assert (await library.resolve(name)).key == key, name
    llava = await library.resolve("llava")
    assert llava.vision and llava.mmproj is not None and llava.mmproj.read_bytes() == eye
    assert llava.display_name == "llava:7b" and llava.publisher == "ollama" and llava.error is None
    shutil.rmtree(store)
    assert await library.models() == []


async def test_what_several_programs_have_is_listed_once(library: Library, user: Path) -> None:
    store = user / ".ollama" / "models"
    blob = write_gguf(user / "m")
    pulled(store, "registry.ollama.ai/library/m/latest", (MODEL, blob.read_bytes()))
    (real,) = (store / "blobs").iterdir()
    link = user / ".lmstudio" / "models" / "p" / "m" / "m.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    assert await keys(library) == {"m": "p/m/m.gguf"}
    own = library.home.models / "mine.gguf"
    own.parent.mkdir()
    own.hardlink_to(real)
    assert await keys(library) == {"mine": "mine.gguf"}


def test_doctor_prints_where_the_programs_models_are(library: Library, user: Path) -> None:
    write_gguf(user / ".lmstudio" / "models" / "a.gguf")
    library.home.settings.write_text('[library]\nprograms = ["lmstudio", "ollama"]\nfolders = ["~nobody-at-all/x"]\n')
    findings = examine(library.home)
    found = {finding.what: finding.found for finding in findings}
    assert found["models of LM Studio"] == str(user / ".lmstudio" / "models")
    assert "models of Ollama" not in found
    assert any("~nobody-at-all/x is not a folder" in finding.found for finding in findings)


async def test_programs_can_be_left_out(library: Library, user: Path) -> None:
    write_gguf(user / ".lmstudio" / "models" / "a.gguf")
    pulled(
        user / ".ollama" / "models", "registry.ollama.ai/library/b/latest", (MODEL, write_gguf(user / "b").read_bytes())
    )
    assert list(await keys(library)) == ["a", "b"]
    library.home.settings.write_text('[library]\nprograms = ["ollama"]\n')
    assert list(await keys(library)) == ["b"]


async def test_nothing_is_written_where_others_keep_their_models(library: Library, user: Path) -> None:
    write_gguf(user / ".lmstudio" / "models" / "a.gguf")
    pulled(
        user / ".ollama" / "models", "registry.ollama.ai/library/b/latest", (MODEL, write_gguf(user / "b").read_bytes())
    )
    before = sorted((str(path), path.stat().st_mtime_ns) for path in user.rglob("*"))
    await library.models()
    await library.remember_used(await library.resolve("a"))
    assert sorted((str(path), path.stat().st_mtime_ns) for path in user.rglob("*")) == before
