"""Embeddings and models with the official client's types and real models."""

from __future__ import annotations

import array
import base64
import math
from typing import Any

import httpx
import openai
import pytest
from openai.types import CreateEmbeddingResponse, Model

from tests.support.http_server import EMBEDDING_MODEL, LLM


def embed(http: httpx.Client, text: Any, **body: Any) -> Any:
    answer = http.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": text, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(http: httpx.Client, **body: Any) -> Any:
    answer = http.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": "a", **body})
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def test_vectors_come_in_the_order_of_the_texts(http: httpx.Client) -> None:
    found = embed(http, ["b", "a"])
    answer = http.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": ["b", "a"]})
    CreateEmbeddingResponse.model_validate_json(answer.text, strict=True)
    assert [each["index"] for each in found["data"]] == [0, 1]
    alone = embed(http, "a")["data"][0]["embedding"]
    assert sum(x * y for x, y in zip(alone, found["data"][1]["embedding"], strict=True)) > 0.99
    assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] > 0


def test_base64_is_the_same_bit_for_bit(http: httpx.Client, base_url: str) -> None:
    numbers = embed(http, "a", encoding_format="float")["data"][0]["embedding"]
    encoded = embed(http, "a", encoding_format="base64")["data"][0]["embedding"]
    assert array.array("f", base64.b64decode(encoded)).tolist() == numbers
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="any") as client:  # which asks for base64 by itself
        assert client.embeddings.create(model=EMBEDDING_MODEL, input="a").data[0].embedding == numbers


def test_tokens_are_inputs_too(http: httpx.Client) -> None:
    assert len(embed(http, [1037, 2000])["data"]) == 1
    assert len(embed(http, [[1037], [2000, 2001]])["data"]) == 2


def test_fewer_dimensions_where_the_model_is_made_for_it(http: httpx.Client) -> None:
    full, short = (embed(http, "a", dimensions=each)["data"][0]["embedding"] for each in (768, 64))
    assert (len(full), len(short)) == (768, 64)
    assert math.isclose(sum(each * each for each in short), 1, rel_tol=1e-5)
    assert math.isclose(short[0] / short[1], full[0] / full[1], rel_tol=1e-4)
    assert refusal(http, dimensions=1000)["param"] == "dimensions"


@pytest.mark.parametrize("given", ["", [], {"a": 1}, [""], [[]], ["a", 1], [-1], None])
def test_an_input_that_is_none_is_refused_by_its_path(http: httpx.Client, given: Any) -> None:
    assert refusal(http, input=given)["param"].startswith("input")


def test_a_text_that_does_not_fit_is_refused(http: httpx.Client) -> None:
    error = refusal(http, input=["short", "word " * 9000])
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")


def test_an_llm_makes_no_embeddings(http: httpx.Client) -> None:
    assert refusal(http, model=LLM)["param"] == "model"
    assert refusal(http, encoding_format="int8")["param"] == "encoding_format"


def test_the_models_on_disk(http: httpx.Client) -> None:
    found = http.get("/v1/models").json()
    assert found["object"] == "list" and {LLM, EMBEDDING_MODEL, "an-alias"} <= {each["id"] for each in found["data"]}
    for entry in found["data"]:
        Model.model_validate(entry, strict=True)
        assert http.get(f"/v1/models/{entry['id']}").json() == entry
    assert http.get("/v1/models/no-such").json()["error"]["code"] == "model_not_found"


def test_a_name_with_a_slash_is_one_name(http: httpx.Client, base_url: str) -> None:
    path = next(each["path"] for each in _listed(base_url) if each["key"] == LLM)
    publisher_name = "/".join(path.split("/")[:2])
    for name in (publisher_name, publisher_name.replace("/", "%2F")):
        assert http.get(f"/v1/models/{name}").json()["id"] == publisher_name


def _listed(base_url: str) -> list[dict[str, str]]:
    import studiolo as lm

    with lm.Client(base_url.removeprefix("http://")) as client:
        return [{"key": each.model_key, "path": each.path} for each in client.list_downloaded_models()]
