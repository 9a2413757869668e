"""``client.repository`` of both official TypeScript clients, with a fake hub: each call ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from studiolo.paths import Home
from tests.support.homes import bare_home
from tests.support.model_files import write_catalog, write_gguf
from tests.support.running import Server, serving
from tests.support.typescript_clients import VERSIONS, installed, run
from tests.support.web import Web, go_nowhere_else

pytestmark = pytest.mark.web

COMMON = """
import { LMStudioClient } from "@lmstudio/sdk";
const client = new LMStudioClient({ baseUrl: `ws://${process.argv[2]}`, verboseErrorMessages: false });
const repository = client.repository;
process.on("unhandledRejection", () => {});  // downloadArtifact leaves one behind when it fails
const received = {};
const within = (promise, what) => Promise.race([
  promise,
  new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} hangs`)), 60000).unref()),
]);
const refusal = async (what, call) => {
  try {
    await within(call(), what);
    received[what] = "no error";
  } catch (error) {
    received[what] = error.message;
  }
};
"""

OLD = """
const [found] = await within(repository.searchModels({ searchTerm: "tiny" }), "searchModels");
const options = await within(found.getDownloadOptions(), "getDownloadOptions");
received.options = options.map(option => [option.quantization, option.isRecommended()]);
let finalizing = false;
received.key = await within(options[0].download({ onStartFinalizing: () => { finalizing = true; } }), "download");
received.finalizing = finalizing;
{
  const planner = repository.createArtifactDownloadPlanner({ owner: "me", name: "big" });
  await within(planner.untilReady(), "untilReady");
  received.size = planner.getPlan().downloadSizeBytes;
  const updates = [];
  await within(planner.download({ onProgress: update => updates.push(update.downloadedBytes) }), "planner.download");
  received.progress = updates.length > 0;
  planner[Symbol.dispose]();
}
await refusal("ensureAuthenticated", () => repository.ensureAuthenticated({
  onAuthenticationUrl: () => {}, onAuthenticationCode: () => {},
}));
await refusal("loginWithPreAuthenticatedKeys", () => repository.loginWithPreAuthenticatedKeys({
  keyId: "k", publicKey: "p", privateKey: "s",
}));
await refusal("downloadArtifact", () => repository.downloadArtifact({
  owner: "a", name: "b", revisionNumber: 1, path: "/nowhere",
}));
await refusal("pushArtifact", () => repository.pushArtifact({ path: "/nowhere" }));
await refusal("getLocalArtifactFiles", () => repository.getLocalArtifactFileList("/nowhere"));
await refusal("installPluginDependencies", () => repository.installPluginDependencies("/nowhere"));
"""

NEW = """
{
  const source = { type: "huggingface", user: "me", repo: "tiny-GGUF" };
  const planner = repository.createModelDownloadPlanner({
    source, resolutionPreference: [{ type: "quantName", quantName: "Q8_0" }],
  });
  await within(planner.untilReady(), "untilReady");
  const quantization = () => planner.getPlan().nodes[0].selected.quantName;
  received.preferred = quantization();
  await within(planner.selectAlreadyOwnedModel({ nodeIndex: 0 }), "selectAlreadyOwnedModel");
  received.owned = [quantization(), planner.getPlan().downloadAction];
  const choice = { nodeIndex: 0, downloadOptionIndex: 1 };
  await within(planner.selectModelDownloadOption(choice), "selectModelDownloadOption");
  received.chosen = [quantization(), planner.getPlan().downloadAction];
  await within(planner.download({}), "planner.download");
  planner[Symbol.dispose]();
  const aborted = new AbortController();
  const other = repository.createModelDownloadPlanner({ source, signal: aborted.signal });
  aborted.abort();
  await refusal("aborted", () => other.untilReady());
}
received.status = await within(repository.getAuthenticationStatus(), "getAuthenticationStatus");
received.authenticated = await within(repository.isAuthenticated(), "isAuthenticated");
await within(repository.deauthenticate(), "deauthenticate");
received.catalog = (await within(repository.unstable.getModelCatalog(), "getModelCatalog")).map(model => model.name);
received.picks = (await within(repository.unstable.fuzzyFindStaffPicks({ searchTerm: "nomic" }), "staff picks"))
  .map(pick => `${pick.owner}/${pick.name}`);
received.owners = await within(repository.unstable.getWritableArtifactOwners(), "getWritableArtifactOwners");
received.link = (await within(repository.lmLink.status(), "lmLink.status")).status;
await refusal("loginAsComputeDevice", () => repository.loginAsComputeDevice("t"));
await refusal("installLocalPlugin", () => repository.installLocalPlugin({ path: "/nowhere" }));
"""

END = """
console.log(JSON.stringify(received));
process.exit(0);
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Home]]:
    """A server that knows the hub on this machine alone, and its home."""
    folder = tmp_path_factory.mktemp("hub")
    home = bare_home(folder)
    with Web() as web, pytest.MonkeyPatch.context() as patch:
        go_nowhere_else(patch, web, folder)
        content = write_gguf(folder / "made.gguf").read_bytes()
        for name in ("Q2_K", "Q4_K_M", "Q8_0"):
            web.add_file("me/tiny-GGUF", f"tiny-{name}.gguf", content)
        big = write_gguf(folder / "big.gguf", weights=1_000_000).read_bytes()
        write_catalog(home, web.add_file("me/big-GGUF", "big-Q4_0.gguf", big), content=big, name="big")
        home.catalog.write_text(home.catalog.read_text().replace("default = true", 'publisher = "me"'))
        with serving(home, folder, "--no-load") as server:
            yield server, home


@pytest.fixture
def server(shared: tuple[Server, Home]) -> Iterator[Server]:
    """The server of all tests here; what a test downloads is removed."""
    server, home = shared
    yield server
    for model in home.models.rglob("*.gguf"):
        model.unlink()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_call_of_the_repository_ends(version: str, server: Server, cache_home: Home) -> None:
    program = COMMON + OLD + (NEW if version == "2.0.0" else "") + END
    folder = installed(version, cache_home.root)
    received: dict[str, Any] = json.loads(run(folder, "repository.mjs", server.address, text=program).splitlines()[-1])
    assert received["options"] == [["Q2_K", False], ["Q4_K_M", True], ["Q8_0", False]]
    assert received["key"] == "tiny" and received["finalizing"] is True
    assert received["size"] > 4_000_000 and received["progress"] is True
    refused = ["ensureAuthenticated", "loginWithPreAuthenticatedKeys", "downloadArtifact", "pushArtifact"]
    refused += ["getLocalArtifactFiles", "installPluginDependencies"]
    if version == "2.0.0":
        refused += ["loginAsComputeDevice", "installLocalPlugin"]
        assert received["preferred"] == "Q8_0"
        assert received["owned"] == ["Q2_K", "none"]
        assert received["chosen"] == ["Q4_K_M", "startNewDownload"]
        assert "cancelled" in received["aborted"]
        assert received["status"] == {"type": "none"} and received["authenticated"] is False
        assert {"big", "nomic-embed-text-v1.5"} <= set(received["catalog"])
        assert received["picks"] == ["nomic-ai/nomic-embed-text-v1.5"]
        assert received["owners"] == [] and received["link"] == "offline"
    for what in refused:
        assert "studiolo has no" in received[what], (what, received[what])
