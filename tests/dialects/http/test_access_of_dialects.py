"""Paths, methods, API tokens and pages of other origins, for each HTTP dialect in its own form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import studiolo_fake_engine as fake

from studiolo.paths import Home
from studiolo.server.access import AccessRules
from studiolo.server.token_file import ApiTokenFile, add_api_token, read_api_tokens
from tests.support.fake_host import SETTINGS as FAKE_ENGINE
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread, serving_in_thread

pytestmark = pytest.mark.slow


@pytest.fixture
def guarded_server(empty_home: Home, tmp_path: Path) -> Iterator[tuple[ServerInThread, str]]:
    """A server on the fake engine that wants an API token, and one."""
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(FAKE_ENGINE)
    token = str(add_api_token(tmp_path / "tokens"))
    add_api_token(tmp_path / "tokens")
    fake.reset()
    with serving_in_thread(ApiTokenFile(tmp_path / "tokens")) as server:
        yield server, token
    fake.reset()


def test_an_api_token_comes_in_either_header(guarded_server: tuple[ServerInThread, str]) -> None:
    server, token = guarded_server
    wrong = f"{token[:-1]}{'a' if token[-1] != 'a' else 'b'}"
    for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200
    for refused in ({}, {"x-api-key": wrong}, {"authorization": f"Bearer {wrong}"}, {"authorization": token}):
        answer = httpx.get(f"{server.url}/v1/models", headers=refused)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key" and token[-8:] not in answer.text


def test_a_missing_token_has_the_form_of_anthropics_api_for_its_clients(
    guarded_server: tuple[ServerInThread, str],
) -> None:
    server, token = guarded_server
    body = {"model": "alpha", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        assert httpx.post(f"{server.url}/v1/messages", json=body, headers=headers).status_code == 200
    version = {"anthropic-version": "2023-06-01"}
    for answer in (
        httpx.post(f"{server.url}/v1/messages", json=body),
        httpx.get(f"{server.url}/v1/models", headers=version),
    ):
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.headers["request-id"] == answer.json()["request_id"]


def test_a_missing_token_has_the_form_of_lm_studios_rest(guarded_server: tuple[ServerInThread, str]) -> None:
    server, token = guarded_server
    for headers, status in (({}, 401), ({"authorization": f"Bearer {token}"}, 200), ({"x-api-key": token}, 200)):
        answer = httpx.get(f"{server.url}/api/v1/models", headers=headers)
        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error"]["code"] == "invalid_api_key" and answer.json()["error"]["message"]
            assert answer.headers["www-authenticate"] == "Bearer"


def test_what_is_stored_belongs_to_its_api_token(guarded_server: tuple[ServerInThread, str], tmp_path: Path) -> None:
    server, token = guarded_server
    (other,) = {str(each) for each in read_api_tokens(tmp_path / "tokens")} - {token}

    def post(path: str, token: str, **body: object) -> httpx.Response:
        return httpx.post(f"{server.url}{path}", json=body, headers={"x-api-key": token}, timeout=30)

    chat = {"model": "alpha", "input": "hi"}
    for path, key in (("/api/v1/chat", "response_id"), ("/v1/responses", "id")):
        first = post(path, token, **chat).json()[key]
        assert post(path, token, **chat, previous_response_id=first).status_code == 200
        refused = post(path, other, **chat, previous_response_id=first)
        assert refused.status_code == 400 and refused.json()["error"]["param"] == "previous_response_id"
    messages = [{"role": "user", "content": "hi"}]
    asked = {"model": "alpha", "max_tokens": 5, "messages": messages}
    thread = post("/v1/messages", token, **asked, thread={"type": "create"}).json()["id"]
    more = {"type": "continue", "previous_message_id": thread}
    for each, status in ((token, 200), (other, 404)):
        assert post("/v1/messages", each, **asked, thread=more).status_code == status
    kept = post("/v1/chat/completions", token, model="alpha", messages=messages, store=True).json()["id"]
    for each, ids, status in ((token, [kept], 200), (other, [], 404)):
        listed = httpx.get(f"{server.url}/v1/chat/completions", headers={"x-api-key": each}).json()["data"]
        assert [one["id"] for one in listed] == ids
        for path in (kept, f"{kept}/messages"):
            found = httpx.get(f"{server.url}/v1/chat/completions/{path}", headers={"x-api-key": each})
            assert found.status_code == status
    assert httpx.delete(f"{server.url}/v1/chat/completions/{kept}", headers={"x-api-key": other}).status_code == 404
    assert httpx.get(f"{server.url}/v1/responses/{first}", headers={"x-api-key": token}).status_code == 200
    assert httpx.get(f"{server.url}/v1/responses/{first}", headers={"x-api-key": other}).status_code == 404


def test_unknown_paths_and_wrong_methods(fake_server: ServerInThread) -> None:
    nothing = httpx.get(f"{fake_server.url}/v1/nothing")
    assert nothing.status_code == 404 and nothing.json()["error"]["code"] == "unknown_url"
    without_prefix = httpx.post(f"{fake_server.url}/chat/completions", json={})
    assert without_prefix.status_code == 404 and "/v1/chat/completions" in without_prefix.text
    for path in ("/v1/v1/messages", "/v1//messages", "/api/v1/messages", "/v1/api/chat", "/api/api/chat/"):
        answer = httpx.post(f"{fake_server.url}{path}", json={})
        assert answer.status_code == 404, path
        meant = path.strip("/").replace("//", "/").removeprefix("v1/").removeprefix("api/")
        assert "Did you mean /" in answer.text and f"{meant}?" in answer.text, answer.text
    for path in ("/v1/nothing", "/v1/files", "/v1/llm"):
        assert "Did you mean" not in httpx.post(f"{fake_server.url}{path}", json={}).text
    wrong = httpx.get(f"{fake_server.url}/v1/embeddings")
    assert wrong.status_code == 405 and "POST" in wrong.headers["allow"]
    assert wrong.json()["error"]["code"] == "method_not_allowed"


def test_a_body_that_is_too_large_is_refused_in_the_form_of_the_dialect(fake_server: ServerInThread) -> None:
    answer = httpx.post(f"{fake_server.url}/v1/chat/completions", content=b"x" * (65 * 2**20), timeout=60)
    assert answer.status_code == 413 and answer.json()["error"]["type"] == "invalid_request_error"


def test_ollamas_clients_need_an_api_token_too(guarded_server: tuple[ServerInThread, str]) -> None:
    server, token = guarded_server
    for path in ("/", "/api/version", "/api/tags", "/api/ps"):
        refused = httpx.get(f"{server.url}{path}")
        assert refused.status_code == 401 and isinstance(refused.json()["error"], str)
        for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
            assert httpx.get(f"{server.url}{path}", headers=headers).status_code == 200


def test_a_body_that_is_too_large_is_refused_in_the_form_of_each_dialect(empty_home: Home) -> None:
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(f"{FAKE_ENGINE}\n[server]\nmax_body_bytes = 2048\n")
    with serving_in_thread() as server:
        for path in PATHS:
            answer = httpx.post(f"{server.url}{path}", content=b"x" * 3000)
            error = answer.json()["error"]
            assert answer.status_code == 413, path
            if path == "/v1/messages":
                assert (answer.json()["type"], error["type"]) == ("error", "request_too_large")
            elif path == "/api/chat":
                assert isinstance(error, str)
            else:
                assert error["message"] and error["type"].startswith("invalid_request")


PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/v1/chat", "/api/v0/embeddings")
HEADERS_OF_CLIENTS = (
    "authorization,content-type,x-stainless-os,x-stainless-helper-method,dangerously-allow-browser,x-api-key,"
    "anthropic-version,anthropic-dangerous-direct-browser-access"
)


def test_pages_of_allowed_origins_may_send_whatever_header_they_ask_for(empty_home: Home) -> None:
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(FAKE_ENGINE)
    page = "https://chat.example"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": HEADERS_OF_CLIENTS}
    with serving_in_thread(rules=AccessRules("127.0.0.1", [page])) as server, httpx.Client(base_url=server.url) as http:
        for path in PATHS:
            preflight = http.options(path, headers={"origin": page, **asked})
            assert preflight.status_code == 204 and preflight.headers["access-control-allow-origin"] == page
            assert preflight.headers["access-control-allow-headers"] == HEADERS_OF_CLIENTS
            assert "POST" in preflight.headers["access-control-allow-methods"] and preflight.headers["vary"] == "Origin"
            wrong = http.post(path, json={"model": "no-such-model"}, headers={"origin": page})
            assert wrong.status_code in (400, 404) and wrong.headers["access-control-allow-origin"] == page
            for method in ("OPTIONS", "POST"):
                foreign = http.request(method, path, headers={"origin": "https://evil.example", **asked})
                assert foreign.status_code == 403
                assert not [name for name in foreign.headers if name.startswith("access-control-")]
