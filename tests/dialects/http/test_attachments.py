"""Images and documents by their addresses: fetched where the settings allow it, within limits."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import studiolo_fake_engine as fake
from openai.types.responses import ResponseItemList

from studiolo import outbound
from studiolo.dialects.http.attachments import MAX_DOCUMENTS
from studiolo.dialects.openai import responses
from studiolo.errors import FilesError
from studiolo.host import fetching
from studiolo.host.fetching import fetch_files
from tests.support.document_files import docx, pdf
from tests.support.http_server import ServerInThread
from tests.support.pictures import PICTURE, Pictures

MODEL = "tiny-vision"
ROOM = 1 << 26


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    with Pictures() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.hold.set()
        server.shutdown()
        thread.join()


def bodies(url: str) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Return requests with the image at ``url``, each with its path and where it has the image."""
    chat = {"type": "image_url", "image_url": {"url": url}}
    block = {"type": "image", "source": {"type": "url", "url": url}}
    part = {"type": "input_image", "image_url": url}
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    use = {"type": "tool_use", "id": "c", "name": "look", "input": {"content": [block]}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [block]}
    said = [{"role": "user", "content": "Look."}, {"role": "assistant", "content": [use]}]
    few = {"max_tokens": 2}
    return {
        "chat": ("/v1/chat/completions", {**few, "messages": [user(chat)]}, "messages.0.content.0"),
        "response": ("/v1/responses", {"max_output_tokens": 2, "input": [user(part)]}, "input.0.content.0"),
        "output": (
            "/v1/responses",
            {
                "max_output_tokens": 2,
                "input": [user(), call, {**call, "type": "function_call_output", "output": [part]}],
            },
            "input.2.output.0",
        ),
        "message": ("/v1/messages", {**few, "messages": [user(block)]}, "messages.0.content.0"),
        "result": ("/v1/messages", {**few, "messages": [*said, user(result)]}, "messages.2.content.0.content.0"),
        "rest": ("/api/v1/chat", {"max_output_tokens": 2, "input": [{"type": "image", "data_url": url}]}, "input.0"),
    }


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts) or "Look."}


DIALECTS = list(bodies(""))


@pytest.mark.parametrize("name", DIALECTS)
def test_an_image_by_its_address_is_seen(http: httpx.Client, pictures: Pictures, name: str) -> None:
    path, body, _ = bodies(f"{pictures.url}/once")[name]
    answer = http.post(path, json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    counts = answer.json().get("usage") or answer.json()["stats"]
    assert sum(counts.get(key) or 0 for key in ("prompt_tokens", "input_tokens", "cache_read_input_tokens")) > 25
    assert [path for path, _ in pictures.asked] == ["/once", "/picture"]
    if path == "/v1/responses":  # which lists what it was sent, and continues without fetching it again
        response_id = answer.json()["id"]
        items = listed(http, response_id)
        (held,) = [item for item in items if name == ("output" if "output" in item else "response")]
        assert f"{pictures.url}/once" in json.dumps(held) and "base64" not in json.dumps(items)
        more = {"model": MODEL, "input": "And?", "previous_response_id": response_id, "max_output_tokens": 1}
        answer = http.post(path, json=more)
        assert answer.json()["usage"]["input_tokens"] > 25 and len(pictures.asked) == 2


def listed(http: httpx.Client, response_id: str) -> list[Any]:
    """The items of a response's input, checked."""
    text = http.get(f"/v1/responses/{response_id}/input_items", params={"order": "asc"}).text
    ResponseItemList.model_validate_json(text, strict=True)
    return json.loads(text)["data"]


def message(answer: httpx.Response) -> str:
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


@pytest.mark.slow
def test_without_the_setting_no_address_is_fetched_on_a_fake_engine(
    fake_server: ServerInThread, pictures: Pictures
) -> None:
    for path, body, place in bodies(f"{pictures.url}/picture").values():
        for stream in (False, True):
            answer = httpx.post(fake_server.url + path, json={"model": "alpha", **body, "stream": stream})
            assert "server.fetch_urls" in message(answer) and message(answer).startswith(place + ":")
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["error"].get("param", place) == place
    assert pictures.asked == []


def encoded(data: bytes, **others: Any) -> dict[str, Any]:
    return {"file_data": base64.b64encode(data).decode(), **others}


def with_document(data: bytes, url: str, name: str) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Return requests with a document, each with its path and where it has the document: by content and by address."""
    content = {"filename": name, "file_data": f"data:text/plain;base64,{base64.b64encode(data).decode()}"}
    named = {"filename": name, "file_url": url}
    source = {"type": "base64", "media_type": "text/plain", "data": base64.b64encode(data).decode()}
    few = {"max_tokens": 2}
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    output = {**call, "type": "function_call_output", "output": [{"type": "input_file", **named}]}
    use = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    block = {"type": "document", "title": name, "source": {"type": "url", "url": url}, "citations": {"enabled": False}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [block]}
    chat, message, place = "/v1/chat/completions", "/v1/messages", "messages.0.content.0"
    return {
        "chat": (chat, {**few, "messages": [user({"type": "file", "file": content})]}, ""),
        "chat-url": (chat, {**few, "messages": [user({"type": "file", "file": named})]}, f"{place}.file.file_url"),
        "response": ("/v1/responses", {"input": [user({"type": "input_file", **content})]}, ""),
        "response-url": (
            "/v1/responses",
            {"input": [user({"type": "input_file", **named})]},
            "input.0.content.0.file_url",
        ),
        "output-url": ("/v1/responses", {"input": [user(), call, output]}, "input.2.output.0.file_url"),
        "message": (message, {**few, "messages": [user({**block, "source": source})]}, ""),
        "message-url": (message, {**few, "messages": [user(block)]}, f"{place}.source.url"),
        "result-url": (
            message,
            {**few, "messages": [user(), {"role": "assistant", "content": [use]}, user(result)]},
            "messages.2.content.0.content.0.source.url",
        ),
    }


def last_prompt() -> str:
    return str(fake.engines[-1].requests[-1].prompt)


def allow(server: ServerInThread, reach: str) -> None:
    with server.host.home.settings.open("a") as settings:
        settings.write(f'[server]\nfetch_urls = "{reach}"\n')


@pytest.mark.slow
def test_a_document_is_read_on_a_fake_engine(fake_server: ServerInThread, pictures: Pictures) -> None:
    requests = with_document("Für Élise".encode("cp1252"), f"{pictures.url}/letter.txt", "a.txt")
    for path, body, place in requests.values():
        if place:
            answer = httpx.post(fake_server.url + path, json={"model": "alpha", **body})
            assert message(answer).startswith(f"{place}:") and "server.fetch_urls" in message(answer)
    assert pictures.asked == []
    allow(fake_server, "any")
    for path, body, _ in requests.values():
        answer = httpx.post(fake_server.url + path, json={"model": "alpha", **body}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert "File a.txt:\n\nFür Élise" in last_prompt()
    assert {path for path, _ in pictures.asked} == {"/letter.txt"}


@pytest.mark.slow
def test_documents_are_listed_as_they_were_sent_on_a_fake_engine(
    fake_server: ServerInThread, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(fake_server, "any")
    by_content = {"type": "input_file", **encoded("Für Élise".encode(), filename="a.txt")}
    by_address = {"type": "input_file", "file_url": f"{pictures.url}/letter.txt"}
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": [by_content]}
    body = {"model": "alpha", "input": [user(by_content, by_address), call, output]}
    with httpx.Client(base_url=fake_server.url) as http:
        first = http.post("/v1/responses", json=body).json()["id"]
        sent, _, result = listed(http, first)
        assert sent["content"] == [by_content, by_address] and result["output"] == [by_content]
        more = {"model": "alpha", "input": "And?", "previous_response_id": first}
        second = http.post("/v1/responses", json=more).json()["id"]
        assert last_prompt().count("a.txt:\n\nFür Élise") == 2 and "letter.txt:\n\nFür Élise" in last_prompt()
        assert len(pictures.asked) == 1 and listed(http, second)[0]["content"] == [by_content, by_address]
        monkeypatch.setattr(responses, "MAX_BODY_BYTES", 2000)  # and nothing more fits than the text
        large = {"type": "input_file", **encoded(b"<p>Hi" + b" " * 999, filename="b.html")}
        body = {"model": "alpha", "input": [user(large)]}
        (sent,) = listed(http, http.post("/v1/responses", json=body).json()["id"])
        assert sent["content"] == [{"type": "input_file", "filename": "b.html"}] and "Hi" in last_prompt()


FORMS = {
    "letter.txt": "File letter.txt:\n\nFür Élise",
    "story.php": "File story.php:\n\nFoxes & geese",
    "report.pdf": "File report.pdf:\n\nSales rose.",
}


@pytest.mark.slow
def test_documents_of_several_forms_are_read_on_a_fake_engine(fake_server: ServerInThread, pictures: Pictures) -> None:
    allow(fake_server, "any")
    parts = [{"type": "input_file", "file_url": f"{pictures.url}/{name}?token=x"} for name in FORMS]
    word = {"type": "input_file", **encoded(docx(), filename="Plan.docx")}
    answer = httpx.post(f"{fake_server.url}/v1/responses", json={"model": "alpha", "input": [user(*parts, word)]})
    assert answer.status_code == 200, answer.text
    prompt = last_prompt()
    assert all(text in prompt for text in FORMS.values())
    assert "File Plan.docx:\n\nA paragraph of Word." in prompt and "token=x" not in prompt


UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "stored": ({"file_id": "file-1"}, "file_id: there are no stored files here"),
    "neither": ({"filename": "a.txt"}, "either file_data or file_url"),
    "both": (encoded(b"a", file_url="http://a"), "either file_data or file_url"),
    "scheme": ({"file_url": "file:///etc/hostname"}, "file_url: expected an address"),
    "not-base64": ({"file_data": "a b c!"}, "file_data: it is not base64"),
    "number": ({"file_data": 1}, "file_data: expected a string"),
    "name": (encoded(b"a", filename=1), "filename: expected a string"),
    "picture": (encoded(PICTURE), "not a document that can be read"),
    "damaged": (encoded(b"%PDF-1.4 and nothing more"), "cannot be read"),
    "empty": (encoded(pdf([""])), "has no text"),
    "missing": ({"file_url": "{url}/missing"}, "status 404"),
}


@pytest.mark.slow
def test_a_document_that_cannot_be_read_is_refused_on_a_fake_engine(
    fake_server: ServerInThread, pictures: Pictures
) -> None:
    allow(fake_server, "any")
    for fields, error in UNREADABLE.values():
        part = {k: v.format(url=pictures.url) if k == "file_url" else v for k, v in fields.items()}
        body = {"model": "alpha", "input": [user({"type": "input_file", **part})]}
        answer = httpx.post(f"{fake_server.url}/v1/responses", json=body, timeout=60)
        assert error in message(answer)
        assert message(answer).startswith("input.0.content.0")
    many = [{"type": "input_file", **encoded(b"a")}] * (MAX_DOCUMENTS + 1)
    answer = httpx.post(f"{fake_server.url}/v1/responses", json={"model": "alpha", "input": [user(*many)]})
    assert message(answer).startswith("input.0.content.20: at most 20 documents")
    said = {"role": "assistant", "content": [{"type": "input_file", **encoded(b"a")}]}
    answer = httpx.post(f"{fake_server.url}/v1/responses", json={"model": "alpha", "input": [said]})
    assert "a chat cannot hold" in message(answer)
    page = user({"type": "input_image", "image_url": f"{pictures.url}/page"})
    answer = httpx.post(f"{fake_server.url}/v1/responses", json={"model": "alpha", "input": [page]})
    assert "not an image" in message(answer)


HOSTS = ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "127.1"]


def test_private_addresses_are_refused_where_public_ones_are_fetched_on_a_fake_engine(
    fake_server: ServerInThread, pictures: Pictures
) -> None:
    allow(fake_server, "public")
    for host in HOSTS:
        path, body, _ = bodies(f"http://{host}:{pictures.server_port}/picture")["chat"]
        answer = httpx.post(fake_server.url + path, json={"model": "alpha", **body})
        assert "public internet" in message(answer) or "IPv4" in message(answer)
        assert answer.json()["error"]["code"] == "invalid_image_url"
    assert pictures.asked == []


FAULTS = {
    "missing": "status 404",
    "packed": "compressed",
    "large": "20 MiB",
    "endless": "20 MiB",
    "loop": "redirected more than 3 times",
    "file": "http:// or https://",
}


@pytest.mark.parametrize("path", FAULTS)
async def test_what_cannot_be_fetched_is_refused(pictures: Pictures, path: str) -> None:
    with pytest.raises(FilesError, match=FAULTS[path]) as failure:
        await fetch_files([f"{pictures.url}/{path}?secret"], "any", ROOM)
    assert path in failure.value.title and "secret" not in str(failure.value)


async def test_a_silent_server_is_waited_for_within_a_limit(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FETCH_LIMIT_SEC", 0.2)
    with pytest.raises(FilesError, match="no answer within"):
        await fetch_files([f"{pictures.url}/slow"], "any", ROOM)


async def test_files_of_a_request_are_limited_together(pictures: Pictures) -> None:
    urls = [f"{pictures.url}/picture/{index}" for index in range(3)]
    assert [each.data for each in await fetch_files(urls, "any", 3 * len(PICTURE))] == [PICTURE] * 3
    with pytest.raises(FilesError, match="too large together"):
        await fetch_files(urls, "any", 3 * len(PICTURE) - 1)
    with pytest.raises(FilesError, match="At most 20 files"):
        await fetch_files(urls * 7, "any", ROOM)


async def test_a_redirect_to_an_address_that_is_not_allowed_is_not_followed(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "is_public", lambda address: address == "127.0.0.1")
    assert (await fetch_files([f"{pictures.url}/once"], "public", ROOM))[0].data == PICTURE
    pictures.asked.clear()
    with pytest.raises(FilesError, match=r"127\.0\.0\.2 is not an address of the public internet"):
        await fetch_files([f"{pictures.url}/elsewhere"], "public", ROOM)
    assert [path for path, _ in pictures.asked] == ["/elsewhere"]


async def test_a_name_is_resolved_once_and_its_address_is_used(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.1"]

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(outbound, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    url = f"http://pictures.example:{pictures.server_port}/picture"
    assert (await fetch_files([url], "public", ROOM))[0].data == PICTURE
    assert answers == [] and pictures.asked == [("/picture", f"pictures.example:{pictures.server_port}")]
