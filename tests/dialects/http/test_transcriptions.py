"""``/v1/audio/transcriptions``: its form is read, and models that take no audio say so."""

from __future__ import annotations

import struct

import httpx
import openai
import pytest

from studiolo.dialects.http.uploads import MAX_PARTS, read_form
from studiolo.errors import InvalidRequestError
from tests.support.http_server import ServerInThread

WAV = (
    b"RIFF"
    + struct.pack("<I", 36)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    + b"data\0\0\0\0"
)


def test_the_official_client_gets_its_own_errors(fake_server: ServerInThread) -> None:
    client = openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="any", max_retries=0)
    audio = ("speech.wav", WAV)
    with pytest.raises(openai.NotFoundError) as missing:
        client.audio.transcriptions.create(model="whisper-1", file=audio, language="en", temperature=0.2)
    assert missing.value.code == "model_not_found"
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="alpha takes no audio") as refused:
            client.audio.transcriptions.create(
                model="alpha", file=audio, stream=stream, timestamp_granularities=["word", "segment"]
            )
        assert refused.value.param == "model"


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
        "POST", "http://a", data={"a": "é", "b[]": ["1", "2"]}, files={"c": ("n", b"\xff\r\n--\0"), "d": ("n", b"")}
    )
    found = read_form(request.headers["content-type"], request.read())
    assert found == {"a": "é", "b": ["1", "2"], "c": b"\xff\r\n--\0", "d": b""}
    many = httpx.Request("POST", "http://a", files=[("a", ("n", b""))] * (MAX_PARTS + 1))
    with pytest.raises(InvalidRequestError):
        read_form(many.headers["content-type"], many.read())
    latin = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--'
    with pytest.raises(InvalidRequestError):
        read_form("multipart/form-data; boundary=x", latin)
