"""What the hub, the catalog, servers and paths offer, what is recommended of it, and that it is what comes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from studiolo.domain.progress import DownloadProgress
from studiolo.errors import DownloadError, ModelNotFoundError
from studiolo.library import DownloadOption, Library
from studiolo.library import download_options as options
from studiolo.library.download_options import Memory, of_repository
from studiolo.library.download_references import HubReference
from studiolo.library.hub import HubFile, HubFiles
from tests.support.model_files import write_catalog, write_gguf
from tests.support.web import Web

GB = 1_000_000_000
QUANTIZATIONS = {"Q2_K": 3, "Q4_K_M": 5, "Q6_K": 7, "Q8_0": 9, "F16": 16}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("made") / "made.gguf").read_bytes()


def offered(files: dict[str, int], ram: int, vram: int = 0, reference: str = "me/big") -> list[DownloadOption]:
    listing = HubFiles([HubFile(path, size * GB, "0" * 64) for path, size in files.items()])
    return of_repository(HubReference(reference), listing, Memory(ram * GB, vram * GB))


def recommended(found: list[DownloadOption]) -> str | None:
    (one,) = (each for each in found if each.recommended)
    return one.quantization


@pytest.mark.parametrize(
    ("there", "ram", "best"),
    [
        ("Q2_K Q4_K_M Q6_K Q8_0 F16", 64, "Q4_K_M"),
        ("Q2_K Q4_K_M Q6_K Q8_0 F16", 4, "Q2_K"),
        ("Q2_K Q4_K_M Q6_K Q8_0 F16", 1, "Q2_K"),
        ("Q2_K Q6_K Q8_0 F16", 8, "Q6_K"),
        ("Q2_K Q6_K Q8_0 F16", 64, "Q8_0"),
        ("F16", 64, "F16"),
        ("Q8_0 F16", 1, "Q8_0"),
    ],
)
def test_what_is_recommended(there: str, ram: int, best: str) -> None:
    files = {f"big-{name}.gguf": QUANTIZATIONS[name] for name in there.split()}
    found = offered(files, ram)
    assert recommended(found) == best
    assert [each.size_bytes for each in found] == sorted(each.size_bytes for each in found)


def test_what_fits() -> None:
    memory = Memory(10 * GB)
    assert [memory.fit(size * GB) for size in (9, 10)] == ["fitWithoutGPU", "willNotFit"]
    memory = Memory(10 * GB, 8 * GB)
    assert [memory.fit(size * GB) for size in (7, 9, 16, 17)] == [
        "fullGPUOffload",
        "partialGPUOffload",
        "partialGPUOffload",
        "willNotFit",
    ]
    assert options.available_memory().ram > 0


def test_shards_and_projectors_belong_to_their_models() -> None:
    found = offered(
        {
            "Q8_0/big-Q8_0-00001-of-00003.gguf": 4,
            "Q8_0/big-Q8_0-00002-of-00003.gguf": 4,
            "Q8_0/big-Q8_0-00003-of-00003.gguf": 1,
            "big-Q4_K_M.gguf": 5,
            "big-Q6_K-00001-of-00002.gguf": 5,  # the other one is not there
            "mmproj-big-F32.gguf": 2,
            "mmproj-big-F16.gguf": 1,
            "big.imatrix.gguf": 1,
            "README.md": 1,
            "../escape-Q2_K.gguf": 1,
            "/root-Q2_K.gguf": 1,
        },
        ram=64,
    )
    assert [(each.identifier, each.size_bytes // GB) for each in found] == [
        ("me/big@q4_k_m", 6),
        ("me/big@q8_0", 10),
    ]
    assert [file.file for file in found[1].files] == [
        "me/big/Q8_0/big-Q8_0-00001-of-00003.gguf",
        "me/big/Q8_0/big-Q8_0-00002-of-00003.gguf",
        "me/big/Q8_0/big-Q8_0-00003-of-00003.gguf",
        "me/big/Q8_0/mmproj-big-F16.gguf",
    ]
    assert all(each.vision for each in found)


def test_models_that_share_a_quantisation_go_by_their_files() -> None:
    found = offered({"one-Q4_0.gguf": 1, "two-Q4_0.gguf": 2, "plain.gguf": 3}, ram=64)
    assert [each.identifier for each in found] == ["me/big/one-Q4_0.gguf", "me/big/two-Q4_0.gguf", "me/big/plain.gguf"]


async def test_a_repository(library: Library, web: Web, content: bytes) -> None:
    for name in ("Q2_K", "Q4_K_M", "F16"):
        web.add_file("me/big-GGUF", f"big-{name}.gguf", content)
    found = await library.download_options("me/big-GGUF")
    assert {each.quantization: each.recommended for each in found} == {"Q2_K": False, "Q4_K_M": True, "F16": False}
    (one,) = await library.download_options(f"{web.url}/me/big-GGUF/blob/main/big-F16.gguf")
    assert (one.quantization, one.identifier, one.recommended) == ("F16", "me/big-GGUF@f16", True)
    assert one.files[0].sha256 == hashlib.sha256(content).hexdigest()
    model = await library.fetch("me/big-GGUF@q2_k")
    assert model.path == library.home.models / "me/big-GGUF/big-Q2_K.gguf"
    best = next(each for each in found if each.recommended)
    assert (await library.fetch_option(best)).path.name == "big-Q4_K_M.gguf"
    with pytest.raises(ModelNotFoundError, match=r"me/big-GGUF has no q8_0\. It has .*Q4_K_M"):
        await library.fetch("me/big-GGUF@q8_0")


async def test_all_files_of_a_model_come_and_the_one_that_stands_for_it_comes_last(
    library: Library, web: Web, tmp_path: Path, content: bytes
) -> None:
    shards = [
        write_gguf(tmp_path / f"{number}.gguf", weights=500_000, general__name=f"part {number}").read_bytes()
        for number in (1, 2)
    ]
    for number, shard in enumerate(shards, 1):
        web.add_file("me/big", f"Q8_0/big-Q8_0-0000{number}-of-00002.gguf", shard)
    web.add_file("me/big", "mmproj-F16.gguf", content)
    web.fail("/resolve/main/mmproj-F16.gguf", times=99, status=403)
    with pytest.raises(DownloadError, match=r"mmproj-F16\.gguf"):
        await library.fetch("me/big@q8_0")
    assert await library.models() == [], "no part of it is in the library"
    web.faults.clear()
    updates: list[DownloadProgress] = []
    finalized: list[int] = []
    model = await library.fetch("me/big@q8_0", updates.append, lambda: finalized.append(len(updates)))
    folder = library.home.models / "me/big/Q8_0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "big-Q8_0-00001-of-00002.gguf",
        "big-Q8_0-00002-of-00002.gguf",
        "mmproj-F16.gguf",
    ]
    assert (folder / "big-Q8_0-00002-of-00002.gguf").read_bytes() == shards[1]
    assert model.path == folder / "big-Q8_0-00001-of-00002.gguf"
    total = sum(map(len, shards)) + len(content)
    assert {update.total_bytes for update in updates} == {total}
    sizes = [update.downloaded_bytes for update in updates]
    assert sizes == sorted(sizes) and sizes[-1] == total
    assert finalized == [len(updates)]
    for number in (1, 2):
        path = f"/cdn/me/big/Q8_0/big-Q8_0-0000{number}-of-00002.gguf"
        assert sum(each.sent for each in web.transfers(path)) == len(shards[number - 1]), "a shard came twice"
    assert list(library.home.downloads.iterdir()) == []


async def test_a_companion_that_is_missing_is_fetched(library: Library, web: Web, content: bytes) -> None:
    web.add_file("me/see", "see-Q4_0.gguf", content)
    await library.fetch("me/see")
    web.add_file("me/see", "mmproj-see-F16.gguf", content)
    await library.fetch("me/see")
    assert (library.home.models / "me/see/mmproj-see-F16.gguf").read_bytes() == content
    assert len(web.transfers("/cdn/me/see/see-Q4_0.gguf")) == 1


async def test_a_web_address(library: Library, web: Web, content: bytes) -> None:
    url = web.add_plain("/pub/one-Q4_0-00001-of-00002.gguf", content)
    web.add_plain("/pub/one-Q4_0-00002-of-00002.gguf", content)
    (one,) = await library.download_options(url)
    assert one.quantization == "Q4_0" and len(one.files) == 2
    model = await library.fetch(url)
    assert model.path.parent.parent.parent == library.home.models and model.path.parent.name == "one"
    assert {path.read_bytes() for path in model.path.parent.iterdir()} == {content}


async def test_a_path(library: Library, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine-Q4_0.gguf"
    path.write_bytes(content)
    (tmp_path / "mmproj-mine.gguf").write_bytes(content)
    model = await library.fetch(str(path))
    assert model.path == library.home.models / "local/mine/mine-Q4_0.gguf"
    assert model.path.read_bytes() == path.read_bytes() == content
    assert (model.path.parent / "mmproj-mine.gguf").exists()
    with pytest.raises(ModelNotFoundError, match=r"none\.gguf is not a file"):
        await library.fetch(str(tmp_path / "none.gguf"))


async def test_a_name_in_the_catalog_with_a_quantisation(library: Library, web: Web, content: bytes) -> None:
    source = web.add_file("me/tiny-GGUF", "tiny.Q4_0.gguf", content)
    web.add_file("me/tiny-GGUF", "tiny.Q8_0.gguf", content)
    write_catalog(library.home, source)
    library.home.catalog.write_text(library.home.catalog.read_text().replace("default", 'quantization="Q4_0"\ndefault'))
    assert [each.identifier for each in await library.download_options("tiny")] == ["tiny"]
    assert [each.identifier for each in await library.download_options("tiny@q4_0")] == ["tiny"]
    assert [each.identifier for each in await library.download_options("tiny@q8_0")] == ["me/tiny-GGUF@q8_0"]
    assert (await library.fetch("tiny@q8_0")).path.name == "tiny.Q8_0.gguf"


async def test_a_repository_that_is_here_needs_no_hub(
    library: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.add_file("me/tiny", "tiny.Q4_0.gguf", content)
    first = await library.fetch("me/tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert await library.fetch("me/tiny") == first
    with pytest.raises(DownloadError, match=r"offline mode is on \(HF_HUB_OFFLINE\)"):
        await library.fetch("me/other")


@pytest.mark.parametrize(
    ("fault", "error", "why"),
    [
        ({"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}}, ModelNotFoundError, "no repository me/tiny"),
        ({"status": 401, "headers": {"X-Error-Code": "RepoNotFound"}}, ModelNotFoundError, "Set HF_TOKEN to a token"),
        ({"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, DownloadError, "me/tiny is gated"),
        ({"status": 403}, DownloadError, "refuses me/tiny"),
        ({"status": 418}, DownloadError, r"failed \(HTTP 418\)"),
    ],
)
async def test_a_hub_that_refuses(
    library: Library, web: Web, content: bytes, fault: dict[str, object], error: type[Exception], why: str
) -> None:
    web.add_file("me/tiny", "tiny.Q4_0.gguf", content)
    web.fail("/api/models/me/tiny", times=99, **fault)
    with pytest.raises(error, match=why):
        await library.download_options("me/tiny")


async def test_a_repository_without_gguf_files(library: Library, web: Web) -> None:
    web.add_file("me/other", "model.safetensors", b"x")
    with pytest.raises(ModelNotFoundError, match="me/other has no GGUF files"):
        await library.download_options("me/other")
    with pytest.raises(ModelNotFoundError, match="No model matches 'nothing-like-it'"):
        await library.download_options("nothing-like-it")
