"""Models, their keys and chats with files, as the official Python client sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmstudio
import pytest
from lmstudio import history

import studiolo as lm
from tests.support.homes import SHORT_ANSWERS
from tests.support.running import Server

pytestmark = [
    pytest.mark.quick_model,
    pytest.mark.server(
        models=["embedding_model", "vision_model"],
        settings=SHORT_ANSWERS + '[models."all-minilm-l6-v2"]\nload = { context_length = 128 }\n',
    ),
]

LLM = "smollm2-135m-instruct"
EMBEDDING = "text-embedding-all-minilm-l6-v2"


@pytest.fixture
def client(server: Server) -> Iterator[lmstudio.Client]:
    with lmstudio.Client(server.address) as client:
        yield client


def test_an_embedding_model_has_the_prefix_in_its_key_and_its_identifier(client: lmstudio.Client) -> None:
    assert [each.model_key for each in client.embedding.list_downloaded()] == [EMBEDDING]
    for name in (EMBEDDING, "all-minilm-l6-v2", "tests/all-MiniLM-L6-v2", "tests/all-MiniLM-L6-v2.F16-GGUF"):
        model = client.embedding.load_new_instance(name)
        assert model.identifier == EMBEDDING and model.get_info().model_key == EMBEDDING
        assert client.embedding.model(name) == model, "the bare name means it, too"
        model.unload()


def test_settings_of_an_embedding_model_hold_under_its_bare_name(client: lmstudio.Client) -> None:
    model = client.embedding.load_new_instance(EMBEDDING)
    assert model.get_context_length() == 128
    model.unload()


def test_a_model_under_an_identifier_of_its_own_is_found_by_its_key(
    client: lmstudio.Client, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    mine = client.embedding.load_new_instance(EMBEDDING, "mine")
    for name in ("mine", EMBEDDING, "all-minilm-l6-v2", "tests/all-MiniLM-L6-v2"):
        assert client.embedding.model(name).identifier == "mine"
    assert [each.identifier for each in client.embedding.list_loaded()] == ["mine"]
    with caplog.at_level("WARNING", logger="lmstudio"):
        assert client.embedding.model(EMBEDDING, config={"contextLength": 64}).get_context_length() == 128
    assert "context_length is 128, not 64" in caplog.text
    with lm.Client(server.address) as ours, pytest.warns(lm.LoadMismatchWarning, match="context_length is 128, not 64"):
        assert ours.embedding.model(EMBEDDING, config={"contextLength": 64}).identifier == "mine"
    mine.unload()


def test_names_and_sizes_are_those_that_people_see(client: lmstudio.Client, vision_model: Path) -> None:
    shown = {each.model_key: each.info for each in client.list_downloaded_models()}
    assert [shown[key].display_name for key in (LLM, EMBEDDING, "tiny-vision")] == [
        "SmolLM2 135M Instruct",
        "All MiniLM L6 v2",
        "Tiny Vision",
    ]
    projector = vision_model.with_name(f"mmproj-{vision_model.name}")
    assert shown["tiny-vision"].size_bytes == vision_model.stat().st_size + projector.stat().st_size


def test_every_upload_is_a_file_of_its_own(client: lmstudio.Client) -> None:
    one, two = (client.files._prepare_file(b"same", "a.txt") for _ in range(2))
    assert one.identifier != two.identifier and one.size_bytes == two.size_bytes == 4
    empty = client.files._prepare_file(b"", "empty.txt")
    assert empty.size_bytes == 0 and empty.file_type == "text/plain"


def test_a_prompt_template_leaves_text_files_out(client: lmstudio.Client, server: Server) -> None:
    chat = lmstudio.Chat("You are terse.")
    file = history.FileHandle(name="a.txt", identifier="some-file", size_bytes=100, file_type="text/plain")
    chat.add_user_message(["What is in it?", file])
    llm = client.llm.model(LLM)
    prompt = llm.apply_prompt_template(chat)
    assert "What is in it?" in prompt and "a.txt" not in prompt and "some-file" not in prompt
    with lm.Client(server.address) as ours:
        said = lm.Chat("You are terse.")
        said.add_user_message("What is in it?")
        assert ours.llm.model(LLM).apply_prompt_template(said) == prompt
    with pytest.raises(
        lmstudio.LMStudioServerError, match=r"a\.txt"
    ):  # a prediction would answer without having read it
        llm.respond(chat, config={"maxTokens": 1})
