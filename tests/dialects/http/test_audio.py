"""Audio with a real engine and a tiny model with audio input, by the official clients and by the SDK."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import studiolo as lm
from tests.support.models.audio import tone
from tests.support.running import Server

pytestmark = [pytest.mark.slow]

MODEL = "tiny-audio"
LOW, HIGH = tone(300), tone(2000)
QUESTION = "What is this?"


@pytest.fixture
def client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base_url}/v1", api_key="any", max_retries=0, _strict_response_validation=True)


@pytest.fixture
def sdk(http_server: Server) -> Iterator[lm.Client]:
    with lm.Client(http_server.address) as client:
        yield client


def part(data: bytes) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}


def heard(client: openai.OpenAI, *audio: bytes) -> tuple[str | None, int]:
    """Return the answer about audio, and the tokens of its prompt."""
    content: Any = [{"type": "text", "text": QUESTION}, *map(part, audio)]
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": content}], temperature=0, max_tokens=8
    )
    assert answer.usage is not None
    return answer.choices[0].message.content, answer.usage.prompt_tokens


def test_a_model_hears_what_it_is_given_in_every_api(
    client: openai.OpenAI, sdk: lm.Client, http: httpx.Client, tmp_path: Path
) -> None:
    (low, tokens), (high, _), (silence, bare) = heard(client, LOW), heard(client, HIGH), heard(client)
    assert low not in (high, silence) and tokens > bare + 750, "the tokens of 30 s"

    content = [{"type": "input_text", "text": QUESTION}, part(LOW)]
    body = {"model": MODEL, "input": [{"role": "user", "content": content}], "temperature": 0, "max_output_tokens": 8}
    response = http.post("/v1/responses", json=body).json()
    assert response["output"][0]["content"][0]["text"] == low

    path = tmp_path / "low.wav"
    path.write_bytes(LOW)
    handle = sdk.prepare_audio(path)
    assert (handle.name, handle.file_type, handle.size_bytes) == ("low.wav", "audio", len(LOW))
    llm = sdk.llm.model(MODEL)
    chat = lm.Chat()
    chat.add_user_message(QUESTION, audio=[handle])
    assert llm.respond(chat, config={"temperature": 0, "max_tokens": 8}).content == low
    shown = llm.apply_prompt_template([{"role": "user", "content": [QUESTION, part(LOW), "After."]}])
    assert shown.index(QUESTION) < shown.index("media") < shown.index("After.")


def test_a_transcription_is_an_answer_about_the_audio(client: openai.OpenAI) -> None:
    low = client.audio.transcriptions.create(model=MODEL, file=("a.wav", LOW))
    high = client.audio.transcriptions.create(model=MODEL, file=("a.wav", HIGH), response_format="text", language="en")
    assert low.usage is not None and low.usage.type == "tokens" and low.usage.input_tokens > 750
    assert low.text and high and low.text != high
    events = list(client.audio.transcriptions.create(model=MODEL, file=("a.wav", LOW), stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].text == low.text


def test_models_with_audio_input_are_known_as_such(sdk: lm.Client, http: httpx.Client) -> None:
    infos = {each.model_key: each.info for each in sdk.llm.list_downloaded()}
    assert infos[MODEL].audio and not infos[MODEL].vision and not infos["tiny-vision"].audio
    abilities = {each["key"]: each.get("capabilities") for each in http.get("/api/v1/models").json()["models"]}
    assert (abilities[MODEL]["audio"], abilities["tiny-vision"]["audio"]) == (True, False)
    assert "audio" in http.post("/api/show", json={"model": MODEL}).json()["capabilities"]


def test_what_is_no_audio_is_refused_by_name(sdk: lm.Client, http: httpx.Client) -> None:
    for data, says in ((b"text", "not audio"), (LOW[:-1], "damaged")):
        with pytest.raises(lm.FilesError, match=rf"'a\.wav' is {says}"):
            sdk.prepare_audio(data, "a.wav")
    with pytest.raises(lm.UnsupportedError, match=r"cannot hear the audio 'audio\.wav'"):
        sdk.llm.model("tiny-vision").respond([{"role": "user", "content": [part(LOW)]}])
    for data, says in ((b"text", "not audio"), (LOW[:-1], "damaged")):
        body = {"model": MODEL, "messages": [{"role": "user", "content": [part(data)]}]}
        error = http.post("/v1/chat/completions", json=body).json()["error"]
        assert error["param"] == "messages" and says in error["message"]


def test_a_decision_is_about_the_audio(http: httpx.Client) -> None:
    def probabilities(*audio: dict[str, Any]) -> dict[str, float]:
        content = [{"type": "text", "text": QUESTION}, *audio]
        body = {"model": MODEL, "choices": ["yes", "no"], "messages": [{"role": "user", "content": content}]}
        return http.post("/v1/decisions", json=body).json()["probabilities"]

    assert probabilities(part(LOW)) != probabilities()


def test_other_apis_refuse_audio_by_name(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": [part(LOW)]}]
    answer = http.post("/v1/messages", json={"model": MODEL, "max_tokens": 8, "messages": messages})
    assert answer.status_code == 400 and "input_audio" in answer.json()["error"]["message"]
    answer = http.post("/api/v1/chat", json={"model": MODEL, "input": [part(LOW)]})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "input.0.type"
    picture = base64.b64encode(LOW).decode()
    answer = http.post("/api/chat", json={"model": MODEL, "messages": [{"role": "user", "images": [picture]}]})
    assert answer.status_code == 400 and "image" in answer.json()["error"]
