"""Errors as LM Studio's clients know them: codes, the data of each code, and the classes that they become."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import lmstudio
import pytest

import studiolo as lm
from studiolo.errors import (
    ConfigError,
    DraftModelNotFoundError,
    HostError,
    IdentifierNotFoundError,
    ModelNotFoundError,
    PathNotFoundError,
    RejectedConfigError,
    UnsupportedError,
)
from studiolo.paths import Home
from studiolo.protocol.errors import deserialize_error, serialize_error
from tests.support.homes import SHORT_ANSWERS
from tests.support.running import Server

pytestmark = [pytest.mark.quick_model, pytest.mark.server(settings=SHORT_ANSWERS, load=True)]

MODEL = "smollm2-135m-instruct"
SOURCES = Path(lm.__file__).parent


@pytest.fixture
def client(server: Server) -> Iterator[lm.Client]:
    with lm.Client(server.address) as client:
        yield client


@pytest.fixture
def official(server: Server) -> Iterator[lmstudio.Client]:
    with lmstudio.Client(server.address) as client:
        yield client


@pytest.mark.parametrize("method", ["load_new_instance", "model"])
def test_a_key_that_no_model_has_is_a_path_that_is_not_found(client: lm.Client, method: str) -> None:
    with pytest.raises(lm.LMStudioModelNotFoundError, match="'nonesuch'") as caught:
        getattr(client.llm, method)("nonesuch")
    assert type(caught.value) is PathNotFoundError
    data = caught.value.data
    assert data["path"] == "nonesuch" and data["totalModels"] == 1
    assert data["availablePathsSample"] == [client.llm.model().get_info().path]


def test_an_absolute_path_without_a_file_is_a_path_that_is_not_found(client: lm.Client) -> None:
    with pytest.raises(PathNotFoundError) as caught:
        client.llm.load_new_instance("/nonesuch/model.gguf")
    assert caught.value.data["path"] == "/nonesuch/model.gguf" and caught.value.data["totalModels"] == 1


def test_an_identifier_that_nothing_is_loaded_as_is_not_unloaded(client: lm.Client) -> None:
    with pytest.raises(lm.LMStudioModelNotFoundError, match="'nonesuch'") as caught:
        client.llm.unload("nonesuch")
    assert type(caught.value) is IdentifierNotFoundError
    expected = {"identifier": "nonesuch", "loadedModelsSample": [MODEL], "totalLoadedModels": 1}
    assert caught.value.data == expected


def test_a_query_that_no_model_matches_says_what_is_loaded(client: lm.Client) -> None:
    with lmstudio.Client(client.api_host) as official, pytest.raises(lmstudio.LMStudioModelNotFoundError) as caught:
        official.llm._create_handle("nonesuch").count_tokens("text")
    shown = caught.value._raw_error["displayData"]
    assert shown == {
        "code": "generic.noModelMatchingQuery",
        "query": {"identifier": "nonesuch"},
        "loadedModelsSample": [MODEL],
        "totalLoadedModels": 1,
    }


@pytest.mark.parametrize("when", ["prediction", "load"])
def test_an_unknown_draft_model_is_named_without_the_code_of_a_query(client: lm.Client, when: str) -> None:
    with pytest.raises(DraftModelNotFoundError) as caught:
        if when == "prediction":
            client.llm.model().complete("x", config={"draft_model": "invalid-model", "max_tokens": 1})
        else:
            client.llm.load_new_instance(MODEL, config={"speculative_draft_model": "invalid-model"})
    assert caught.value.title == 'Cannot find model "invalid-model"'
    assert serialize_error(caught.value).display_data is None


def test_a_taken_identifier_is_named_on_one_line(client: lm.Client, official: lmstudio.Client) -> None:
    with pytest.raises(lmstudio.LMStudioServerError, match=f"^Model load error: .*{MODEL}.* already exists.*$"):
        official.llm.load_new_instance(MODEL, MODEL)
    with pytest.raises(lm.LMStudioServerError, match=f"{MODEL}.* already exists") as caught:
        client.llm.load_new_instance(MODEL, MODEL)
    assert type(caught.value) is HostError
    assert [llm.identifier for llm in client.llm.list_loaded()] == [MODEL]


def test_the_official_python_client_has_a_class_for_each_model_that_is_not_found(official: lmstudio.Client) -> None:
    """It has none for the codes of a path and of an identifier, and would raise its general class."""
    for call in (official.llm.model, official.llm.load_new_instance, official.llm.unload):
        with pytest.raises(lmstudio.LMStudioModelNotFoundError, match="nonesuch"):
            call("nonesuch")


def test_a_setting_that_the_host_rejects_is_a_server_error_and_a_config_error(client: lm.Client) -> None:
    with pytest.raises(lm.LMStudioServerError, match="tool_choice") as caught:
        client.llm.model().respond("hi", config={"tool_choice": "required", "max_tokens": 1})
    assert type(caught.value) is RejectedConfigError and isinstance(caught.value, ConfigError)


def test_the_embedded_host_rejects_a_setting_with_the_same_class(home: Home) -> None:
    with lm.Client("embedded") as client, pytest.raises(RejectedConfigError, match="tool_choice"):
        client.llm.model(config={"context_length": 256}).respond("hi", config={"tool_choice": "required"})


def test_what_is_not_supported_says_so_with_every_field(client: lm.Client) -> None:
    llm = client.llm.model()
    template = {"type": "jinja", "stopStrings": [], "jinjaPromptTemplate": {"template": "x"}}
    for asked, feature, engine in (
        (lambda: llm.complete("x", config={"system_prompt": "y", "max_tokens": 1}), "system_prompt", "studiolo"),
        (lambda: client.llm.load_new_instance(MODEL, config={"num_experts": 2}), "num_experts", "llama.cpp"),
        (lambda: llm.complete("x", config={"promptTemplate": template}), "prompt_template", "studiolo"),
    ):
        with pytest.raises(UnsupportedError) as caught:
            asked()
        shown = deserialize_error(serialize_error(caught.value)).data
        assert (shown["feature"], shown["engineName"], shown["engineType"]) == (feature, engine, engine)
        assert shown["installedVersion"] not in ("", "unknown") and shown["supportedVersion"] is None


def test_the_version_of_another_engine_is_its_own() -> None:
    error = UnsupportedError("no", feature="x", engine="llama-server", engine_version="b1234")
    assert (error.data["engineType"], error.data["installedVersion"]) == ("llama-server", "b1234")
    error = UnsupportedError("no", feature="x", engine="studiolo")
    assert (error.data["engineType"], error.data["installedVersion"]) == ("studiolo", lm.__version__)


@pytest.mark.slow
def test_every_place_that_refuses_a_feature_names_it() -> None:
    places = 0
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UnsupportedError":
                places += 1
                assert "feature" in {each.arg for each in node.keywords}, f"{path}:{node.lineno}"
    assert places > 15


def test_classes_outside_the_hosts_part_of_the_tree_do_not_come_from_a_server() -> None:
    for error in (lm.CancelledError("x"), lm.UsageError("x"), lm.ClientError("x"), ValueError("x")):
        assert type(deserialize_error(serialize_error(error))) is HostError
    assert type(deserialize_error(serialize_error(ModelNotFoundError("x")))) is ModelNotFoundError
