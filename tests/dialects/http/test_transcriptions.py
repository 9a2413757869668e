"""``/v1/audio/transcriptions`` on the fake engine: its form, what the engine is asked, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
import studiolo_fake_engine as fake

from studiolo.dialects.http.uploads import MAX_PARTS, read_form
from studiolo.domain.chat import Audio
from studiolo.errors import InvalidRequestError
from studiolo.host.transcription import transcription_chat
from studiolo.paths import Home
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread
from tests.support.models.audio import tone

WAV = tone(seconds=1)
SPEECH = ("speech.wav", WAV)


@pytest.fixture
def client(empty_home: Home, fake_server: ServerInThread) -> openai.OpenAI:
    """The official client of a server with a model ``ears``, which takes audio."""
    add_model(empty_home, "ears", audio=True)
    return openai.OpenAI(
        base_url=f"{fake_server.url}/v1", api_key="any", max_retries=0, _strict_response_validation=True
    )


def test_the_official_client_gets_a_text(client: openai.OpenAI) -> None:
    found = client.audio.transcriptions.create(model="ears", file=SPEECH)
    assert found.text == "One two three." and found.usage is not None and found.usage.type == "tokens"
    assert found.usage.total_tokens == found.usage.input_tokens + 3
    asked = fake.engines[0].requests[-1]
    assert (asked.prompt, list(asked.media), asked.config.temperature) == ("Transcribe audio to text", [WAV], 0)
    text = client.audio.transcriptions.create(
        model="ears", file=SPEECH, response_format="text", language="en", prompt="Write it down", temperature=0.5
    )
    assert text == "One two three."
    asked = fake.engines[0].requests[-1]
    assert (asked.prompt, asked.config.temperature) == ("Write it down (language: en)", 0.5)


def test_a_stream_has_the_text_in_pieces(client: openai.OpenAI) -> None:
    events = list(client.audio.transcriptions.create(model="ears", file=SPEECH, stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    (done,) = [event for event in events if event.type == "transcript.text.done"]
    assert "".join(deltas) == done.text == "One two three." and events[-1] is done
    assert done.usage is not None and done.usage.output_tokens == 3


def test_a_stream_that_fails_ends_with_the_error(client: openai.OpenAI) -> None:
    fake.models["ears"] = fake.FakeModel(dies_after=1)
    with pytest.raises(openai.APIError, match="ended unexpectedly"):
        list(client.audio.transcriptions.create(model="ears", file=SPEECH, stream=True))


def test_lfm2_has_an_instruction_of_its_own() -> None:
    template, audio = "{{ '<|tool_list_start|>' }}{{ '<|tool_list_end|>' }}", Audio(WAV)
    for language, text in (("", ""), ("en", "(language: en)")):
        system, user = transcription_chat(template, audio, language=language).messages
        assert (system.text, user.text, user.parts[-1]) == ("Perform ASR.", text, audio)


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"model": "alpha"}, "model", "alpha cannot hear the audio 'file'"),
        ({"model": "alpha", "stream": True}, "model", "cannot hear"),
        ({"file": ("speech.wav", WAV[:-1])}, "file", "damaged"),
        ({"file": ("speech.wav", WAV[:-1]), "stream": True}, "file", "damaged"),
        ({"file": ("speech.ogg", b"OggS" + bytes(40))}, "file", "not audio that a model can read"),
        ({"response_format": "srt"}, "response_format", "'srt' is none of json, text"),
        ({"response_format": "text", "stream": True}, "response_format", "not possible in a stream"),
        ({"temperature": 3}, "temperature", "expected"),
        ({"temperature": "warm"}, "temperature", "expected a number"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities", "times of words"),
        ({"include": ["logprobs"]}, "include", "not supported"),
        ({"languages": ["en", "de"]}, "languages", "not supported"),
        ({"chunking_strategy": {"type": "server_vad"}}, "chunking_strategy", "one block"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as refused:
        client.audio.transcriptions.create(**{"model": "ears", "file": SPEECH, **fields})
    assert refused.value.param == param


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.audio.transcriptions.create(model="whisper-1", file=SPEECH, chunking_strategy="auto")
    assert missing.value.code == "model_not_found"


def test_what_is_no_form_is_refused(fake_server: ServerInThread) -> None:
    url = f"{fake_server.url}/v1/audio/transcriptions"
    assert "multipart/form-data" in httpx.post(url, json={"model": "alpha"}).json()["error"]["message"]
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nvalue"):
        answer = httpx.post(url, content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), body
    for files, data, param in (
        ({"file": ("a.wav", WAV)}, {}, "model"),
        ({"other": ("a.wav", WAV)}, {"model": "alpha"}, "file"),
        ({"other": ("a.wav", WAV)}, {"model": "alpha", "file": "text"}, "file"),
        ({"file": ("a.wav", b"")}, {"model": "alpha"}, "file"),
    ):
        answer = httpx.post(url, files=files, data=data)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_parts_of_a_form() -> None:
    request = httpx.Request(
        "POST",
        "http://a",
        data={"a": "é", "b[]": ["1", "2"], "e[f]": "3", "e[g]": "4"},
        files={"c": ("n", b"\xff\r\n--\0"), "d": ("n", b"")},
    )
    found = read_form(request.headers["content-type"], request.read())
    assert found == {"a": "é", "b": ["1", "2"], "c": b"\xff\r\n--\0", "d": b"", "e": {"f": "3", "g": "4"}}
    both = httpx.Request("POST", "http://a", data={"a": "1", "a[]": ["2"]}, files={"c": ("n", b"")})
    with pytest.raises(InvalidRequestError, match="one value and as several"):
        read_form(both.headers["content-type"], both.read())
    many = httpx.Request("POST", "http://a", files=[("a", ("n", b""))] * (MAX_PARTS + 1))
    with pytest.raises(InvalidRequestError):
        read_form(many.headers["content-type"], many.read())
    latin = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--'
    with pytest.raises(InvalidRequestError):
        read_form("multipart/form-data; boundary=x", latin)
