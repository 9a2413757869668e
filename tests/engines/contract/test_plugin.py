"""An engine of another package keeps the contract, and does all that a host and the command line ask of one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from studiolo.config import LoadConfig, PredictionConfig, prediction_config
from studiolo.domain.chat import ChatRequest, Message, Text
from studiolo.domain.generation import Fragment, PredictionResult
from studiolo.domain.models import ModelReference
from studiolo.engines.registry import EngineKinds
from studiolo.errors import EngineDiedError, UnsupportedError
from studiolo.host.host import Host
from studiolo.host.runtimes import Runtime, runtimes
from studiolo.paths import Home
from tests.engines.contract.suite import Case, EngineContract
from tests.support import plugins
from tests.support.command_line import run as command
from tests.support.engines import kind_in, node_in
from tests.support.model_files import write_gguf
from tests.support.running import serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in."""
    return plugins.install(plugins.ECHO, tmp_path_factory.mktemp("echo"))


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package is installed for this process and its children."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    return site


class TestPlugin(EngineContract):
    @pytest.fixture
    def case(self, installed: Path, tmp_path: Path) -> Case:
        bad = tmp_path / "bad.gguf"
        bad.write_bytes(b"nonsense" * 100)
        model = write_gguf(tmp_path / "model.gguf")
        return Case(kind_in(tmp_path, "echo"), "here", model, model, bad)


def test_without_its_package_there_is_no_such_engine(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"There is no engine 'echo'.*llama-server, llama\.cpp"):
        kind_in(tmp_path, "echo")


def test_a_package_that_cannot_be_imported_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[studiolo.engines]\nbroken = no_such_module:Kind\n")
    monkeypatch.syspath_prepend(tmp_path)
    kinds = EngineKinds(node_in(tmp_path))
    assert "broken" in kinds.names
    with pytest.raises(UnsupportedError, match=r"'broken' cannot be loaded.*no_such_module"):
        kinds.kind("broken")
    assert kinds.chosen.name == "llama.cpp", "the others work"


@pytest.fixture
def home(empty_home: Home, installed: Path) -> Home:
    """A home whose host runs everything with the engine of the package."""
    empty_home.settings.write_text('[library]\nprograms = []\n[engine]\nname = "echo"\n')
    fields = {"general__name": "Tiny", "_context_length": 4096, "_block_count": 1, "_embedding_length": 64}
    write_gguf(empty_home.models / "me/tiny-GGUF/tiny.gguf", **fields)
    write_gguf(empty_home.models / "me/vectors-GGUF/vectors.gguf", arch="bert", _context_length=512)
    return empty_home


async def test_a_host_lists_estimates_loads_predicts_and_embeds_with_it_and_survives_its_crash(home: Home) -> None:
    host = Host(home)
    try:
        assert (await runtimes(host.engine_kinds))[0] == Runtime("echo", "1.2.3")
        model = await host.find_model("tiny")
        estimate = await host.estimate(model, LoadConfig(context_length=1000))
        assert (estimate.kv_cache_bytes, estimate.weights_bytes) == (64_000, 0)
        async with host.lease(ModelReference(name="tiny"), "llm") as lease:
            instance = lease.instance
            assert (instance.engine_name, instance.engine_note) == ("echo", None)
            chat = ChatRequest(messages=[Message("user", [Text("Hello")])])
            prediction = host.predict(lease, chat, PredictionConfig(max_tokens=11))
            *events, result = [event async for event in prediction.events()]
            await prediction.close()
            assert "".join(event.text for event in events if isinstance(event, Fragment)) == "user: Hello"
            assert isinstance(result, PredictionResult) and result.stop_reason == "max_tokens"

            endless = host.predict(lease, "1 2 3", PredictionConfig(on_engine_failure="error"))
            with pytest.raises(EngineDiedError, match="SIGKILL"):
                async for event in endless.events():
                    if isinstance(event, Fragment) and instance.pid is not None:
                        os.kill(instance.pid, signal.SIGKILL)
            await endless.close()
        (report,) = host.instances.crashes.reports
        assert report.model_key == "tiny" and "SIGKILL" in report.reason and "complete" in report.log_tail
        async with host.lease(ModelReference(name="tiny"), "llm") as lease:
            again = host.predict(lease, "abc", PredictionConfig(max_tokens=3))
            assert [event.text async for event in again.events() if isinstance(event, Fragment)]
            await again.close()
        async with host.lease(ModelReference(name="vectors"), "embedding") as lease:
            embeddings = await lease.embed(["one", "three"])
            assert [len(vector) for vector in embeddings.vectors] == [4, 4] and list(embeddings.token_counts) == [3, 5]
    finally:
        await host.stop()


@pytest.mark.parametrize(
    "config",
    [
        {"structured": {"type": "json", "json_schema": {"type": "object"}}},
        {"structured": {"type": "gbnf", "gbnf_grammar": 'root ::= "a"'}},
        {"log_probs": 2},
    ],
    ids=["schema", "grammar", "log-probabilities"],
)
async def test_what_the_engine_does_not_do_is_refused_in_its_name(home: Home, config: dict[str, Any]) -> None:
    host = Host(home)
    try:
        async with host.lease(ModelReference(name="tiny"), "llm") as lease:
            prediction = host.predict(lease, "abc", prediction_config({"max_tokens": 3, **config}))
            with pytest.raises(UnsupportedError, match="echo") as caught:
                [event async for event in prediction.events()]
            await prediction.close()
        assert (caught.value.data["engineName"], caught.value.data["installedVersion"]) == ("echo", "1.2.3")
    finally:
        await host.stop()


def test_the_command_line_examines_and_shows_it(home: Home, tmp_path: Path) -> None:
    examined = command(home, "doctor", "--json")
    assert any("echo" in finding["what"] for finding in json.loads(examined.stdout)), examined.stderr
    with serving(home, tmp_path, "--no-load") as server:
        loaded = command(home, "load", "tiny", host=server.address)
        assert loaded.returncode == 0, loaded.stderr
        (instance,) = json.loads(command(home, "ps", "--json", host=server.address).stdout)
        assert (instance["modelKey"], instance["engine"]) == ("tiny", "echo")
