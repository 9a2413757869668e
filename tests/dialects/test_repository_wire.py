"""Every endpoint of the ``repository`` namespace on the bare wire; each frame fits both official TypeScript clients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studiolo.library.catalog import Catalog
from studiolo.paths import Home
from tests.support.homes import bare_home
from tests.support.model_files import write_catalog, write_gguf
from tests.support.running import Server, serving, wait_until
from tests.support.web import Web, go_nowhere_else
from tests.support.wire_schemas import WireSchemas, wire_schemas
from tests.support.wire_socket import Socket

pytestmark = pytest.mark.web

REPO = "me/tiny-GGUF"
MODEL = {"type": "model", "source": {"type": "huggingface", "user": "me", "repo": "tiny-GGUF"}}
PICK = {"type": "artifact", "owner": "me-you", "name": "big"}


@pytest.fixture(scope="module")
def judges(cache_home: Home) -> list[WireSchemas]:
    return wire_schemas(cache_home.root)


@contextlib.contextmanager
def stocked_server(web: Web, home: Home, folder: Path) -> Iterator[Server]:
    """A server without models. Its hub has one of three quantisations; its catalog one more that takes a while."""
    content = write_gguf(folder / "made.gguf").read_bytes()
    for name in ("Q2_K", "Q4_K_M", "Q8_0"):
        web.add_file(REPO, f"tiny-{name}.gguf", content)
    big = write_gguf(folder / "big.gguf", weights=1_000_000).read_bytes()
    source = web.add_file("me/big-GGUF", "big-Q4_0.gguf", big)
    write_catalog(home, source, content=big, name="big")
    with home.catalog.open("a") as catalog:
        catalog.write('\n[models.big2]\nfile = "a/b/big2.gguf"\nsources = [{ type = "file", path = "/none.gguf" }]\n')
    text = home.catalog.read_text().replace("default = true", 'publisher = "Me & You"\ndescription = "Large"')
    home.catalog.write_text(text)
    with serving(home, folder, "--no-load") as server:
        yield server


@pytest.fixture(scope="module")
def shared_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Server, Home]]:
    """A server that knows a hub on this machine alone, the hub, and the server's home."""
    folder = tmp_path_factory.mktemp("repository")
    home = bare_home(folder)
    with Web() as web, pytest.MonkeyPatch.context() as patch:
        go_nowhere_else(patch, web, folder)
        with stocked_server(web, home, folder) as server:
            yield web, server, home


@pytest.fixture
def server(shared_hub: tuple[Web, Server, Home]) -> Iterator[Server]:
    """The server without models: what a test downloads is removed after it."""
    _, server, home = shared_hub
    yield server
    for folder in (home.models, home.downloads):
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
    wait_until(lambda: not models(server), "the library to be empty")


@pytest.fixture
def hub(shared_hub: tuple[Web, Server, Home]) -> Iterator[Web]:
    """The hub, which sends half of a large file while ``go_on`` is clear; and no longer after the test."""
    web, _, _ = shared_hub
    web.held.clear()
    yield web
    web.go_on.set()


class Repository:
    """A bare socket of the namespace. Whatever comes is held against both clients' schemas."""

    def __init__(self, socket: Socket, judges: list[WireSchemas]) -> None:
        self.socket = socket
        self._judges = judges
        self._call = 0
        self._channel = 0
        self._endpoint = ""

    def _judged(self, endpoint: str, frame: dict[str, Any]) -> dict[str, Any]:
        for judge in self._judges:
            assert list(judge.faults(f"repository/{endpoint}", frame)) == [], (judge.version, frame)
        return frame

    def call(self, endpoint: str, parameter: Any = None) -> dict[str, Any]:
        """The answer to a call, whether it is a result or an error."""
        self._call += 1
        return self._judged(endpoint, self.socket.call(endpoint, parameter, self._call))

    def open(self, endpoint: str, parameter: Any = None) -> None:
        self._channel += 1
        self._endpoint = endpoint
        frame = {"endpoint": endpoint, "channelId": self._channel, "creationParameter": parameter}
        self.socket.send({"type": "channelCreate", **frame})

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send({"type": "channelSend", "channelId": self._channel, "message": {"type": kind, **fields}})

    def next(self) -> dict[str, Any]:
        """The next message; ``{"type": "closed"}`` or ``{"type": "error", ...}`` at the end."""
        frame = self._judged(self._endpoint, self.socket.receive())
        match frame["type"]:
            case "channelSend":
                return frame["message"]
            case "channelClose":
                return {"type": "closed"}
            case "channelError":
                return {**frame["error"], "type": "error"}
            case other:
                raise AssertionError(other)

    def until(self, kind: str) -> dict[str, Any]:
        """Messages up to one of a type; returns that."""
        while (message := self.next())["type"] != kind:
            assert message["type"] not in ("closed", "error"), message
        return message

    def rest(self) -> list[str]:
        """The types of all messages that still come."""
        types = [self.next()["type"]]
        while types[-1] not in ("closed", "error"):
            types.append(self.next()["type"])
        return types


@pytest.fixture
def repository(server: Server, judges: list[WireSchemas]) -> Iterator[Repository]:
    with Socket(server.address, "repository") as socket:
        yield Repository(socket, judges)


@pytest.fixture
def reader(shared_hub: tuple[Web, Server, Home], judges: list[WireSchemas]) -> Iterator[Repository]:
    """A socket for the tests that download nothing."""
    with Socket(shared_hub[1].address, "repository") as socket:
        yield Repository(socket, judges)


def models(server: Server) -> list[str]:
    with Socket(server.address, "system") as socket:
        return [info["modelKey"] for info in socket.call("listDownloadedModels")["result"]]


def test_search_and_the_options_of_a_result(reader: Repository) -> None:
    found = reader.call("searchModels", {"opts": {"searchTerm": "tiny", "limit": 5}})["result"]["results"]
    assert found == [{"name": "tiny-GGUF", "identifier": {"type": "hf", "identifier": REPO}}]
    (picked,) = reader.call("searchModels", {"opts": {"searchTerm": "me & you/big", "limit": 1}})["result"]["results"]
    assert picked == {
        "name": "big",
        "identifier": {"type": "catalog", "identifier": "big"},
        "exact": True,
        "staffPick": True,
    }
    nothing = {"opts": {"searchTerm": "tiny", "compatibilityTypes": ["pte", "yuzu"]}}
    assert reader.call("searchModels", nothing)["result"]["results"] == []
    identifier = {"modelSearchResultIdentifier": found[0]["identifier"]}
    options = reader.call("getModelDownloadOptions", identifier)["result"]["results"]
    assert [option["quantization"] for option in options] == ["Q2_K", "Q4_K_M", "Q8_0"]
    assert {option["compatibilityType"] for option in options} == {"gguf"}
    assert [option.get("recommended") for option in options] == [None, True, None]
    assert options[0]["indexedModelIdentifier"] == "me/tiny-GGUF/tiny-Q2_K.gguf"


def test_download_model(repository: Repository, server: Server) -> None:
    repository.open("downloadModel", {"downloadIdentifier": f"{REPO}@q8_0"})
    assert repository.until("success") == {"type": "success", "defaultIdentifier": "tiny"}
    assert repository.rest() == ["closed"]
    assert models(server) == ["tiny"]


def test_the_catalog_is_our_own(reader: Repository) -> None:
    catalog = reader.call("getModelCatalog")["result"]["models"]
    by_name = {model["name"]: model for model in catalog}
    assert by_name.keys() == {*Catalog.load(), "big", "big2"}
    chat, embedding = by_name["smollm2-135m-instruct"], by_name["nomic-embed-text-v1.5"]
    assert chat["owner"] == "huggingfacetb" and chat["staffPickedAt"] > 1_700_000_000_000
    assert chat["metadata"] == {
        "type": "llm",
        "architectures": ["llama"],
        "compatibilityTypes": ["gguf"],
        "paramsStrings": ["135M"],
        "minMemoryUsageBytes": 108_198_675,
        "contextLengths": [8192],
        "trainedForToolUse": False,
        "vision": False,
        "reasoning": False,
    }
    assert embedding["metadata"]["type"] == "embedding" and embedding["metadata"]["contextLengths"] == [2048]
    assert by_name["big2"]["owner"] == "studiolo" and "staffPickedAt" not in by_name["big2"]


def test_staff_picks_are_found_by_words_and_misspelt(reader: Repository) -> None:
    def find(**parameter: Any) -> list[str]:
        results = reader.call("fuzzyFindStaffPicks", parameter)["result"]["results"]
        return [f"{each['owner']}/{each['name']}{' exact' if each['exact'] else ''}" for each in results]

    assert len(find()) == len(Catalog.load()) + 2
    assert find(limit=1) == find()[:1]
    assert find(searchTerm="embedding model") == ["nomic-ai/nomic-embed-text-v1.5"]
    assert find(searchTerm="nomic-ai/nomic-embed-text-v1.5") == ["nomic-ai/nomic-embed-text-v1.5 exact"]
    assert find(searchTerm="smolm2 135 instruct") == ["huggingfacetb/smollm2-135m-instruct"]
    assert find(searchTerm="big", compatibilityTypes=["gguf"])[0] == "me-you/big exact"
    assert find(searchTerm="nothing like it") == [] == find(compatibilityTypes=["safetensors"])


def test_there_is_no_account_and_no_link(reader: Repository) -> None:
    assert reader.call("getAuthenticationStatus")["result"] == {"authenticationStatus": {"type": "none"}}
    assert reader.call("isAuthenticated")["result"] == {"authenticated": False}
    assert reader.call("deauthenticate").get("result") is None
    assert reader.call("getWritableArtifactOwners")["result"] == {"owners": []}
    status = reader.call("lmLinkStatus")["result"]
    assert status.pop("deviceName")
    assert status == {"status": "offline", "issues": ["notLoggedIn"], "peers": [], "deviceIdentifier": None}
    assert reader.call("lmLinkSetDisabled", {"disabled": True})["type"] == "rpcResult"


def refused(error: dict[str, Any], endpoint: str) -> None:
    assert endpoint in error["title"] and "account" in error["title"]
    data = error["displayData"]
    assert (data["code"], data["feature"]) == ("generic.engineDoesNotSupportFeature", endpoint)
    assert data["engineName"] == data["engineType"] == "studiolo"
    assert data["installedVersion"] and data["supportedVersion"] is None


@pytest.mark.parametrize(
    ("endpoint", "parameter"),
    [
        ("loginAsComputeDevice", {"token": "t"}),
        ("loginWithPreAuthenticatedKeys", {"keyId": "k", "publicKey": "p", "privateKey": "s"}),
        ("getLocalArtifactFiles", {"path": "/"}),
        ("installPluginDependencies", {"pluginFolder": "/"}),
        ("installLocalPlugin", {"pluginPath": "/"}),
        ("lmLinkSetDisabled", {"disabled": False}),
        ("lmLinkUpdateDeviceName", {"deviceName": "mine"}),
        ("lmLinkSetPreferredDevice", {"deviceIdentifier": "mine"}),
    ],
)
def test_what_needs_an_account_is_refused(reader: Repository, endpoint: str, parameter: Any) -> None:
    refused(reader.call(endpoint, parameter)["error"], endpoint)


@pytest.mark.parametrize(
    ("endpoint", "parameter"),
    [
        ("ensureAuthenticated", None),
        ("downloadArtifact", {"artifactOwner": "a", "artifactName": "b", "revisionNumber": None, "path": "/"}),
        ("pushArtifact", {"path": "/"}),
    ],
)
def test_channels_that_need_an_account_are_refused(reader: Repository, endpoint: str, parameter: Any) -> None:
    reader.open(endpoint, parameter)
    refused(reader.next(), endpoint)


def test_a_plan_is_looked_up_changed_and_committed(repository: Repository, server: Server) -> None:
    repository.open("createDownloadPlan", {"target": MODEL})
    begun = repository.next()
    assert begun["type"] == "planUpdated" and begun["plan"]["version"] == 0
    assert begun["plan"]["downloadAction"] == "none" and begun["plan"]["nodes"][0]["state"] == "fetching"
    plan = repository.until("planReady")["plan"]
    (node,) = plan["nodes"]
    assert (node["state"], node["dependencyLabel"]) == ("completed", REPO)
    assert [option["quantName"] for option in node["downloadOptions"]] == ["Q2_K", "Q4_K_M", "Q8_0"]
    assert {option["availability"] for option in node["downloadOptions"]} == {"notDownloaded"}
    assert node["selectedDownloadOptionIndex"] == node["recommendedDownloadOptionIndex"] == 1
    assert node["selected"]["quantName"] == "Q4_K_M" and "alreadyOwned" not in node
    assert plan["downloadAction"] == "startNewDownload"
    assert plan["downloadSizeBytes"] == node["downloadOptions"][1]["sizeBytes"]
    assert plan["downloadJobIdentifier"] == "me/tiny-GGUF/tiny-Q4_K_M.gguf"
    repository.send(
        "setSelectedDownloadOptionIndex", nodeIndex=0, selectedDownloadOptionIndex=2, requestedPlanVersion=1
    )
    changed = repository.until("planUpdated")["plan"]
    assert changed["version"] == 1 and changed["nodes"][0]["selected"]["quantName"] == "Q8_0"
    repository.send("commit")
    types = repository.rest()
    assert types[-3:] == ["startFinalizing", "success", "closed"] and "downloadProgress" in types
    assert models(server) == ["tiny"]


def test_what_is_in_the_library_is_not_fetched_again(repository: Repository, server: Server, hub: Web) -> None:
    repository.open("downloadModel", {"downloadIdentifier": f"{REPO}@q2_k"})
    repository.until("success")
    repository.rest()
    repository.open("createDownloadPlan", {"target": MODEL, "opts": {}})
    plan = repository.until("planReady")["plan"]
    (node,) = plan["nodes"]
    assert (node["state"], plan["downloadAction"], plan["downloadSizeBytes"]) == ("satisfied", "none", 0)
    assert node["selectedDownloadOptionIndex"] is None and "downloadJobIdentifier" not in plan
    assert node["alreadyOwned"] == node["selected"]
    assert (node["alreadyOwned"]["modelKey"], node["alreadyOwned"]["quantName"]) == ("tiny", "Q2_K")
    assert [option["availability"] for option in node["downloadOptions"]][:2] == ["downloaded", "notDownloaded"]
    sent = len(hub.requests)
    repository.send("commit")
    assert repository.rest() == ["success", "closed"]
    assert len(hub.requests) == sent
    repository.open("createDownloadPlan", {"target": MODEL})
    repository.until("planReady")
    for version, number, state in (
        (1, 1, "completed"),
        (2, 0, "satisfied"),
        (3, 1, "completed"),
        (4, None, "satisfied"),
    ):
        repository.send(
            "setSelectedDownloadOptionIndex",
            nodeIndex=0,
            selectedDownloadOptionIndex=number,
            requestedPlanVersion=version,
        )
        plan = repository.until("planUpdated")["plan"]
        assert (plan["version"], plan["nodes"][0]["state"]) == (version, state)
        assert plan["nodes"][0]["selectedDownloadOptionIndex"] == number
    repository.send("cancelPlan")
    assert repository.rest() == ["error"]
    assert models(server) == ["tiny"]


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        ([{"type": "quantName", "quantName": "q8_0"}], "Q8_0"),
        ([{"type": "fileName", "fileName": "tiny-Q2_K.gguf"}], "Q2_K"),
        ([{"type": "quantName", "quantName": "Q9"}, {"type": "quantName", "quantName": "Q2_K"}], "Q2_K"),
        ([{"type": "fileName", "fileName": "none.gguf"}], "Q4_K_M"),
    ],
)
def test_what_is_preferred_is_selected(reader: Repository, preference: Any, expected: str) -> None:
    opts = {"resolutionPreference": preference, "compatibilityTypes": ["safetensors", "gguf"]}
    reader.open("createDownloadPlan", {"target": MODEL, "opts": opts})
    (node,) = reader.until("planReady")["plan"]["nodes"]
    assert node["selected"]["quantName"] == expected


def test_a_staff_pick_is_planned_by_both_clients(repository: Repository, server: Server) -> None:
    repository.open("createDownloadPlan", {"target": PICK})
    plan = repository.until("planReady")["plan"]
    artifact, model = plan["nodes"]
    assert artifact == {
        "type": "artifact",
        "owner": "me-you",
        "name": "big",
        "state": "completed",
        "artifactType": "model",
        "dependencyNodes": [1],
    }
    assert model["type"] == "model" and plan["downloadJobIdentifier"] == "me/big-GGUF/big.Q4_0.gguf"
    repository.send("cancelPlan")
    assert repository.rest() == ["error"]
    repository.open("createArtifactDownloadPlan", {"owner": "me-you", "name": "big"})
    assert repository.until("planReady")["plan"]["downloadSizeBytes"] > 4_000_000
    repository.send("commit")
    assert repository.rest()[-2:] == ["success", "closed"]
    assert models(server) == ["big"]


def test_a_download_is_joined_and_cancelled(repository: Repository, server: Server, hub: Web, judges: Any) -> None:
    hub.go_on.clear()
    repository.open("createDownloadPlan", {"target": PICK})
    repository.until("planReady")
    repository.send("commit")
    repository.until("downloadProgress")
    with Socket(server.address, "repository") as socket:
        other = Repository(socket, judges)
        other.open("createDownloadPlan", {"target": PICK})
        plan = other.until("planReady")["plan"]
        assert plan["downloadAction"] == "attachToExistingDownload"
        assert plan["nodes"][1]["downloadOptions"][0]["availability"] == "downloading"
        other.send("commit")
        repository.send("cancelDownload")
        assert repository.rest()[-1] == "error"
        hub.go_on.set()
        assert other.rest()[-2:] == ["success", "closed"], "the other one still has its download"


def test_a_cancelled_download_ends_at_once(repository: Repository, server: Server, hub: Web) -> None:
    hub.go_on.clear()
    repository.open("createArtifactDownloadPlan", {"owner": "me-you", "name": "big"})
    repository.until("planReady")
    repository.send("commit")
    hub.wait_until_held()
    repository.send("cancel")
    while (last := repository.next())["type"] != "error":
        assert last["type"] == "downloadProgress"
    assert "me-you/big was cancelled" in last["title"]
    home = Path(server.log.parent / "home")
    wait_until(lambda: not list((home / "downloads").glob("*.lock")), "the download to end")
    assert models(server) == []


@pytest.mark.parametrize(
    ("target", "opts", "words"),
    [
        ({"type": "artifact", "owner": "nobody", "name": "nothing"}, {}, "catalog has no model nobody/nothing"),
        ({**MODEL, "source": {**MODEL["source"], "repo": "none"}}, {}, "was not found on the hub"),
        (MODEL, {"compatibilityTypes": ["safetensors"]}, "is not offered as safetensors"),
    ],
)
def test_what_cannot_be_planned_is_a_clear_error(reader: Repository, target: Any, opts: Any, words: str) -> None:
    reader.open("createDownloadPlan", {"target": target, "opts": opts})
    assert reader.next()["type"] == "planUpdated"
    error = reader.next()
    assert error["type"] == "error" and words in error["title"]


@pytest.mark.parametrize(
    ("node", "option", "words"),
    [
        (0, 3, "no download option 3, only 0 to 2"),
        (0, None, "is in the library that could be selected"),
        (1, 0, "Node 1 of the plan"),
    ],
)
def test_a_selection_that_is_none_is_a_clear_error(
    reader: Repository, node: int, option: int | None, words: str
) -> None:
    reader.open("createDownloadPlan", {"target": MODEL})
    reader.until("planReady")
    reader.send(
        "setSelectedDownloadOptionIndex", nodeIndex=node, selectedDownloadOptionIndex=option, requestedPlanVersion=1
    )
    error = reader.next()
    assert error["type"] == "error" and words in error["title"]


def test_messages_that_come_early_wait_and_odd_ones_are_warned_of(repository: Repository, server: Server) -> None:
    repository.open("createDownloadPlan", {"target": MODEL})
    repository.send("dance")
    repository.send("commit")
    kinds: list[str] = []
    while kinds[-1:] != ["channelClose"]:
        kinds.append(repository.socket.receive()["type"])
    assert kinds.count("communicationWarning") == 1
    assert models(server) == ["tiny"]
    repository.open("createDownloadPlan", {"target": MODEL})
    repository.send("cancelPlan")
    assert repository.rest()[-1] == "error"
