"""Who may open the pages: a one-time link begins a session, and every request needs it and comes from the pages."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from studiolo.paths import Home
from studiolo.server.token_file import add_api_token
from tests.support.browser import Site
from tests.support.homes import new_home
from tests.support.running import Server, environment, serving

pytestmark = pytest.mark.slow

SOCKET = "/ui/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


def fetch(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Return status, headers and body of an answer."""
    connection = http.client.HTTPConnection(server.address, timeout=60)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def cookie(site: Site) -> str:
    """The cookie of a new session."""
    parts = urlsplit(site.link)
    status, headers, _ = fetch(site.server, f"{parts.path}?{parts.query}")
    assert status == 200
    assert headers["set-cookie"].endswith("Path=/ui; Max-Age=604800; HttpOnly; SameSite=Strict")
    return headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/chat/abc", "/ui/_nicegui/1/static/nicegui.js"])
def test_a_visit_without_a_session_says_what_to_run(site: Site, path: str) -> None:
    status, headers, body = fetch(site.server, path)
    assert status == 401
    assert "<code>studiolo ui</code>" in body
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_a_link_is_used_once(site: Site) -> None:
    parts = urlsplit(site.link)
    path = f"{parts.path}?{parts.query}"
    assert fetch(site.server, path)[0] == 200
    status, headers, body = fetch(site.server, path)
    assert (status, "set-cookie" in headers) == (403, False)
    assert "once" in body


def test_a_session_opens_the_pages_under_a_strict_policy(site: Site) -> None:
    status, headers, _ = fetch(site.server, "/ui/", cookie=cookie(site))
    assert status == 200
    policy = headers["content-security-policy"]
    assert "://" not in policy
    assert "*" not in policy
    assert "connect-src 'self';" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_socket_needs_the_session(site: Site) -> None:
    address = f"ws://{site.server.address}{SOCKET}"
    own = f"http://{site.server.address}"
    with pytest.raises(InvalidStatus), connect(address, origin=own):  # pyright: ignore[reportArgumentType]
        pass
    with connect(address, origin=own, additional_headers={"Cookie": cookie(site)}) as socket:  # pyright: ignore[reportArgumentType]
        assert socket.recv(10)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "http://127.0.0.1:9", "null"])
def test_other_pages_are_refused_with_a_session_too(site: Site, origin: str) -> None:
    session = cookie(site)
    assert fetch(site.server, "/ui/", cookie=session, origin=origin)[0] == 403
    headers = {"Cookie": session}
    with (
        pytest.raises(InvalidStatus),
        connect(f"ws://{site.server.address}{SOCKET}", origin=origin, additional_headers=headers),  # pyright: ignore[reportArgumentType]
    ):
        pass


def test_a_page_at_another_port_cannot_embed_or_fetch(site: Site) -> None:
    headers = {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"}
    assert fetch(site.server, "/ui/", cookie=cookie(site), **headers)[0] == 403


def test_a_forged_cookie_is_no_session(site: Site) -> None:
    name, _, value = cookie(site).partition("=")
    changed = value[:-1] + ("0" if value[-1] != "0" else "1")
    assert fetch(site.server, "/ui/", cookie=f"{name}={changed}")[0] == 401
    assert fetch(site.server, "/ui/", cookie=f"{name}=\xe9; {name}")[0] == 401


def test_a_link_is_not_made_without_an_api_token(site: Site) -> None:
    status, _, body = fetch(site.server, "/ui/link", "POST")
    assert (status, "API token" in body) == (401, True)


ADMITTED = 501
"""The answer to a visit with a session where the pages cannot be imported."""


@pytest.fixture(scope="module")
def guarded(quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str, Home, Path]]:
    """A server that requires API tokens, one of them, its home, and the file of the tokens.

    In the place of NiceGUI it has a stub that cannot be imported.
    """
    folder = tmp_path_factory.mktemp("guarded")
    home = new_home(folder, quick_home)
    tokens = folder / "tokens"
    token = str(add_api_token(tokens))
    stub = folder / "stub" / "nicegui.py"
    stub.parent.mkdir()
    stub.write_text("raise ImportError('no nicegui')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{stub.parent}{os.pathsep}{os.environ['PYTHONPATH']}")
        with serving(home, folder, "--no-load", "--token-file", str(tokens)) as server:
            yield server, token, home, tokens


def test_the_command_prints_a_link_for_the_user_of_a_server_with_a_stub_of_nicegui(
    guarded: tuple[Server, str, Home, Path],
) -> None:
    server, _, home, _ = guarded
    command = [sys.executable, "-m", "studiolo", "ui", "--no-open", "--host", server.address]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=60)
    link = urlsplit(done.stdout.strip())
    assert (done.returncode, f"http://{link.netloc}") == (0, f"http://{server.address}"), done.stderr
    status, headers, _ = fetch(server, f"{link.path}?{link.query}")
    assert status == 200
    assert fetch(server, "/ui/", cookie=headers["set-cookie"].partition(";")[0])[0] == ADMITTED
    assert oct(home.page_key.stat().st_mode)[-3:] == "600"


def test_an_api_token_gets_a_link_on_a_stub_of_nicegui_which_ends_with_the_token(
    guarded: tuple[Server, str, Home, Path],
) -> None:
    server, token, _, tokens = guarded
    assert fetch(server, "/ui/link", "POST", authorization="Bearer sk-lm-abcdefgh:abcdefghijklmnopqrst")[0] == 401
    status, _, body = fetch(server, "/ui/link", "POST", authorization=f"Bearer {token}")
    assert status == 200
    status, headers, _ = fetch(server, json.loads(body)["path"])
    session = headers["set-cookie"].partition(";")[0]
    assert fetch(server, "/ui/", cookie=session)[0] == ADMITTED
    add_api_token(tokens)
    kept = [line for line in tokens.read_text().splitlines() if line != token]
    tokens.write_text("\n".join(kept) + "\n")
    assert fetch(server, "/ui/", cookie=session)[0] == 401


def test_a_removed_key_ends_all_sessions_on_a_stub_of_nicegui(guarded: tuple[Server, str, Home, Path]) -> None:
    server, _, home, _ = guarded
    session = cookie(Site(server, home, None))  # pyright: ignore[reportArgumentType]
    assert fetch(server, "/ui/", cookie=session)[0] == ADMITTED
    home.page_key.unlink()
    assert fetch(server, "/ui/", cookie=session)[0] == 401


def test_a_stub_that_cannot_be_imported_leaves_a_page_that_says_what_to_install(
    guarded: tuple[Server, str, Home, Path],
) -> None:
    server, _, home, _ = guarded
    session = cookie(Site(server, home, None))  # pyright: ignore[reportArgumentType]
    status, _, body = fetch(server, "/ui/", cookie=session)
    assert status == 501
    assert "pip install &#x27;studiolo[ui]&#x27;" in body
    assert fetch(server, "/health")[0] == 200


def test_a_server_imports_nothing_of_the_pages_before_a_visit() -> None:
    program = (
        "import sys, studiolo.server.serve; print([m for m in sys.modules if m.startswith(('nicegui', 'fastapi'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_link_opens_the_first_page_in_the_browser(
    open_page: Callable[..., Page], faults_of: Callable[[Page], list[str]]
) -> None:
    page = open_page()
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Chat")).to_have_attribute(
        "aria-current", "page"
    )
    page.get_by_role("button", name="Colours").click()  # light
    page.get_by_role("button", name="Colours: light").click()
    expect(page.locator("body.body--dark")).to_be_attached()
    page.wait_for_function("document.cookie.includes('studiolo-theme=dark')")  # it comes after the colours
    page.reload()
    expect(page.locator("body.body--dark")).to_be_attached()
    assert faults_of(page) == []
    page.get_by_role("button", name="Colours: dark").click()
    expect(page.get_by_role("button", name="Colours: as the system has it")).to_be_visible()
    page.wait_for_function("document.cookie.includes('studiolo-theme=auto')")
