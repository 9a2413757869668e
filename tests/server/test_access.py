"""Foreign pages and foreign names of the server are refused on every path, before any work."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from studiolo.errors import ConfigError
from studiolo.paths import Home
from studiolo.protocol.declarations import NAMESPACES
from studiolo.server.access import AccessRules, guarded
from tests.support.running import Server, serving
from tests.support.wire_socket import HANDSHAKE

pytestmark = pytest.mark.slow

OWN_PAGES = [
    "http://localhost:5173",
    "https://localhost",
    "HTTP://LOCALHOST:5173",
    "http://localhost.:80",
    "http://app.localhost:3000",
    "http://127.0.0.1:1234",
    "http://127.0.0.2",
    "http://[::1]:1234",
]
FOREIGN_PAGES = [
    "https://evil.example",
    "HTTPS://EVIL.EXAMPLE",
    "https://evil.example.",
    "null",
    "NULL",
    "",
    "file://",
    "file:///etc/passwd",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://evil.example:1234",
    "http://localhost@evil.example",
    "http://localhost:5173@evil.example",
    "http://localhost/evil.example",
    "http://evil.example#localhost",
    "http://evil.example\\localhost",
    "http://[::1].evil.example",
    "http://evil.example http://localhost",
    "http://192.168.0.7",
    "http://0.0.0.0:8000",
    "http://notlocalhost",
    "http://",
    "localhost",
    "vscode-webview://0a1b2c",
    "chrome-extension://abcdef",
    "tauri://localhost",
    "javascript:alert(1)",
]
OWN_HOSTS = ["127.0.0.1:1234", "127.0.0.1", "localhost:1234", "LOCALHOST", "localhost.:80", "a.localhost", "[::1]:1234"]
OWN_HOSTS += ["192.168.0.7:1234", "[fe80::1%eth0]:1234", "203.0.113.9"]  # no name server can lead to another address
FOREIGN_HOSTS = ["rebind.example:1234", "REBIND.EXAMPLE", "rebind.example.", "localhost.rebind.example", "", "127.1.x"]
FOREIGN_HOSTS += ["127.0.0.1.rebind.example", "user@localhost", "localhost/x", "[::1].rebind.example", "localhost:x"]


@pytest.fixture(scope="module")
def rules() -> AccessRules:
    return AccessRules("127.0.0.1")


@pytest.mark.parametrize("origin", OWN_PAGES)
def test_a_page_of_this_machine_is_accepted(origin: str, rules: AccessRules) -> None:
    assert rules.origin_fault([origin], "127.0.0.1:1234") is None


@pytest.mark.parametrize("origin", FOREIGN_PAGES)
def test_a_foreign_page_is_refused_with_the_name_of_the_option(origin: str, rules: AccessRules) -> None:
    fault = rules.origin_fault([origin], "127.0.0.1:1234")
    assert fault is not None and "--allow-origin" in fault and "server.allow_origins" in fault


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_an_address_and_a_loopback_name_are_accepted(host: str, rules: AccessRules) -> None:
    assert rules.host_fault([host]) is None


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_another_name_is_refused(host: str, rules: AccessRules) -> None:
    fault = rules.host_fault([host])
    assert fault is not None and "--allow-host" in fault and "server.allow_hosts" in fault


def test_a_missing_or_doubled_header_is_refused(rules: AccessRules) -> None:
    assert rules.host_fault([]) and rules.host_fault(["localhost", "localhost"])
    assert rules.origin_fault([], "localhost") is None  # SDKs send none
    assert rules.origin_fault(["http://localhost", "http://localhost"], "localhost")


def test_options_add_origins_and_names() -> None:
    rules = AccessRules(
        "box.lan",
        ["https://chat.example", "http://other.example:8080/", "vscode-webview://*", "capacitor://localhost"],
        ["Studiolo.Example."],
    )
    for origin in (
        "https://chat.example",
        "HTTPS://CHAT.EXAMPLE:443",
        "http://other.example:8080",
        "http://box.lan:99",
        "http://studiolo.example",
        "vscode-webview://0a1b2c",
        "capacitor://localhost",
    ):
        assert rules.origin_fault([origin], "box.lan:1234") is None
    for origin in (
        "http://chat.example",
        "https://chat.example:444",
        "https://a.chat.example",
        "null",
        "http://other.example",
    ):
        assert rules.origin_fault([origin], "box.lan:1234")
    for host in ("box.lan:1234", "BOX.LAN", "studiolo.example"):
        assert rules.host_fault([host]) is None
    assert rules.host_fault(["a.studiolo.example"])


def test_a_page_of_the_server_itself_is_accepted() -> None:
    rules = AccessRules("0.0.0.0")
    assert rules.origin_fault(["http://192.168.0.7:1234"], "192.168.0.7:1234") is None
    assert rules.origin_fault(["http://192.168.0.7"], "192.168.0.7") is None
    assert rules.origin_fault(["http://[fe80::1]:9"], "[fe80::1]:9") is None
    assert rules.origin_fault(["http://192.168.0.7:8080"], "192.168.0.7:1234")


@pytest.mark.parametrize("origin", ["null", "*", "chat.example", "https://*", "https://", "https://a/b", "https://a b"])
def test_what_is_not_an_origin_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(ConfigError, match="not an origin"):
        AccessRules("127.0.0.1", [origin])


@pytest.mark.parametrize("host", ["", "*", "*.example", "http://a.example", "a.example:1234", "a b"])
def test_what_is_not_a_name_cannot_be_allowed(host: str) -> None:
    with pytest.raises(ConfigError, match="not a name"):
        AccessRules("127.0.0.1", (), [host])


async def test_a_refused_request_does_not_reach_the_app() -> None:
    reached: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def send(message: Any) -> None:
        sent.append(message)

    guard = guarded(app, AccessRules("127.0.0.1"))
    foreign = [(b"host", b"127.0.0.1:1"), (b"origin", b"null")]
    for kind in ("http", "websocket"):
        scope: Any = {"type": kind, "path": "/llm", "method": "GET", "headers": foreign}
        await guard(scope, None, send)  # type: ignore[arg-type]
    assert reached == [] and sent[0]["status"] == 403 and sent[-1]["type"] == "websocket.close"


@pytest.fixture(scope="module", params=[False, True], ids=["without API tokens", "with API tokens"])
def bare_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without models."""
    from studiolo.server.token_file import add_api_token

    home = Home(tmp_path_factory.mktemp("access"))
    home.settings.write_text('[library]\nprograms = []\n[server]\nallow_origins = ["https://chat.example"]\n')
    options = ["--allow-host", "studiolo.example", "--allow-origin", "https://other.example", "--no-load"]
    if request.param:
        add_api_token(home.root / "tokens")
        options += ["--token-file", str(home.root / "tokens")]
    with serving(home, home.root, *options) as server:
        yield server


def status(server: Server, path: str, method: str = "GET", **headers: str) -> int:
    return answer(server, path, method, **headers)[0]


def answer(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(server.address, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/lmstudio-greeting", "/health", "/nonesuch", "/", *(f"/{n}" for n in NAMESPACES)])
def test_every_path_refuses_foreign_pages_and_names(bare_server: Server, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert status(bare_server, path, method, Origin="https://evil.example") == 403
        assert status(bare_server, path, method, Origin="null") == 403
        assert status(bare_server, path, method, Host="rebind.example:1") == 403
        assert status(bare_server, path, method, Host="rebind.example", X_Forwarded_Host="localhost") == 403
        assert status(bare_server, path, method, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors") == 403
        assert status(bare_server, path, method, Origin="http://localhost:5173") != 403
    code, _, body = answer(bare_server, path, Origin="https://evil.example")
    assert code == 403 and "--allow-origin" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_upgrade_of_a_foreign_page_is_refused_before_the_handshake(bare_server: Server, namespace: str) -> None:
    url = f"ws://{bare_server.address}/{namespace}"
    refused: list[dict[str, Any]] = [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"additional_headers": {"Sec-Fetch-Site": "cross-site"}},
    ]
    for options in refused:
        with pytest.raises(InvalidStatus) as caught:
            connect(url, proxy=None, **options)
        assert caught.value.response.status_code == 403
    host, _, port = bare_server.address.rpartition(":")
    with pytest.raises(InvalidStatus) as caught, socket.create_connection((host, int(port))) as opened:
        connect(f"ws://rebind.example:{port}/{namespace}", sock=opened, proxy=None)
    assert caught.value.response.status_code == 403
    for origin in (None, "http://localhost:5173", "https://chat.example", "https://other.example"):
        with connect(url, origin=origin, proxy=None) as accepted:  # type: ignore[arg-type]
            accepted.send(json.dumps(HANDSHAKE))
            assert json.loads(accepted.recv(timeout=20))["success"] is ("--token-file" not in bare_server.process.args)  # type: ignore[operator]
    assert "without completing handshake" not in bare_server.said()


def test_a_page_that_is_allowed_may_read_the_answer(bare_server: Server) -> None:
    for origin in ("https://chat.example", "http://localhost:5173"):
        code, headers, body = answer(bare_server, "/lmstudio-greeting", Origin=origin)
        assert (code, headers["Access-Control-Allow-Origin"], headers["Vary"]) == (200, origin, "Origin")
        assert json.loads(body)["lmstudio"] is True
        wanted = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "authorization, x-a"}
        code, headers, _ = answer(bare_server, "/health", "OPTIONS", Origin=origin, **wanted)
        assert (code, headers["Access-Control-Allow-Headers"]) == (204, "authorization, x-a")
    assert "Access-Control-Allow-Origin" not in answer(bare_server, "/health")[1]
    assert status(bare_server, "/health", Host="studiolo.example:1") == 200
    assert status(bare_server, "/health", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 200


def test_a_refusal_is_logged_once(bare_server: Server) -> None:
    for _ in range(3):
        assert status(bare_server, "/health", Origin="https://logged.example") == 403
    assert bare_server.said().count("https://logged.example") == 1
