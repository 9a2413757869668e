"""The forms of an address, and TLS: what is accepted, what is refused by a ConfigError, and never plain text."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.addresses import Address, parse_address, parse_bind_host
from studiolo.errors import ConfigError, ConnectionFailedError, StudioloError
from studiolo.paths import Home
from studiolo.sdk.discovery import is_server
from tests.support.certificates import Certificates, encrypted, make_certificates
from tests.support.command_line import run
from tests.support.running import Server, free_port, serving

pytestmark = pytest.mark.slow

GOOD = {
    "localhost:1234": Address("localhost", 1234),
    " 127.0.0.1:1234/ ": Address("127.0.0.1", 1234),
    "http://127.0.0.1:1234": Address("127.0.0.1", 1234),
    "HTTP://127.0.0.1:1234/": Address("127.0.0.1", 1234),
    "ws://box.lan:80": Address("box.lan", 80),
    "https://box.lan": Address("box.lan", 443, tls=True),
    "HTTPS://box.lan./": Address("box.lan.", 443, tls=True),
    "wss://box.lan:8443": Address("box.lan", 8443, tls=True),
    "[::1]:1234": Address("::1", 1234),
    "http://[fe80::1%eth0]:1234": Address("fe80::1%eth0", 1234),
    "https://[2001:db8::7]": Address("2001:db8::7", 443, tls=True),
    "rechnerübung:1234": Address("rechnerübung", 1234),
    "http://0.0.0.0:1234": Address("127.0.0.1", 1234),
    "http://[::]:1234": Address("::1", 1234),
}
BAD = ["", "nonsense", "localhost", "http://localhost", ":1234", "localhost:", "localhost:0", "localhost:65536"]
BAD += [
    "localhost:1e3",
    "localhost:١٢٣",
    "localhost:99999999999",
    "::1:1234",
    "::1",
    "[::1]",
    "[::1",
    "[box]:1",
    "[::1]x:1",
]
BAD += ["ws://127.0.0.1:1234/llm", "http://a:1?x", "http://a:1#x", "ftp://a:1", "://a:1", "http://http://a:1", "a b:1"]
BAD += [
    "http://user:hunter2@127.0.0.1:1",
    "hunter2@localhost:1",
    "https://user:hunter2@evil.example",
    "a\n:1",
    "a..b:1",
]
BAD += [f"{'x' * 64}:1", f"{'x.' * 130}:1"]


@pytest.mark.parametrize("text", GOOD)
def test_an_address_is_read(text: str) -> None:
    address = parse_address(text)
    assert address == GOOD[text]
    assert parse_address(str(address)) == parse_address(address.url) == address


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_an_address_is_a_config_error_without_credentials(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="not the address of a host") as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value) and "user" not in str(caught.value).partition("user name")[0]
    if text:
        with pytest.raises(ConfigError):
            lm.Client(text).connect()
        monkeypatch.setenv("STUDIOLO_HOST", text)
        with pytest.raises(ConfigError):
            lm.Client().connect()
    assert lm.Client.is_valid_api_host(text) is False


def test_the_error_for_an_ipv6_address_says_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match=r'Use "\[::1\]:1234"'):
        parse_address("::1:1234")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        (" [::1] ", "::1"),
        ("::", "::"),
        ("box.lan", "box.lan"),
        ("fe80::1%lo", "fe80::1%lo"),
    ],
)
def test_a_bind_address_is_read(text: str, host: str) -> None:
    assert parse_bind_host(text) == host


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1:1234", "[::1]:1234", "http://127.0.0.1", "a b", "[box]", "u:hunter2@a"]
)
def test_what_is_not_a_bind_address_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match="not an address to listen on") as caught:
        parse_bind_host(text)
    assert "hunter2" not in str(caught.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with TLS and without models, at ``::1`` and below."""
    home = Home(tmp_path_factory.mktemp("tls"))
    home.settings.write_text(f'[library]\nprograms = []\n[server]\nkey = "{certificates.key}"\n')
    with serving(
        home, home.root, "--no-load", "--host", "[::1]", "--certificate", str(certificates.certificate), sdk_port=False
    ) as server:
        yield server


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[Server]:
    home = Home(tmp_path / "plain")
    home.root.mkdir()
    home.settings.write_text("[library]\nprograms = []\n")
    with serving(home, home.root, "--no-load", "--host", "::1") as server:
        yield server


async def test_a_private_authority_is_trusted_where_it_is_named(
    tls_server: Server, certificates: Certificates, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tls_server.address
    assert address.startswith("https://[::1]:")
    for form in (address, address.replace("https", "WSS")):
        with lm.Client(form, certificate_authority=certificates.authority) as client:
            assert client.list_loaded_models() == [] and client.api_host == address
            assert client.system.info().pid == tls_server.pid
    monkeypatch.setenv("STUDIOLO_CERTIFICATE_AUTHORITY", str(certificates.authority))
    async with lm.AsyncClient(address) as client:
        assert await client.list_loaded_models() == []
    assert await is_server(address)
    done = run(empty_home, "ps", "--json", host=address)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


async def test_a_certificate_that_is_not_trusted_is_refused(
    tls_server: Server, certificates: Certificates, empty_home: Home, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path)
    for authority in (None, other.authority):
        with pytest.raises(ConnectionFailedError, match=r"certificate is not trusted.*certificate_authority"):
            lm.Client(tls_server.address, certificate_authority=authority).connect()
    with pytest.raises(ConnectionFailedError, match="certificate is not trusted"):
        await lm.AsyncClient(tls_server.address).connect()
    assert not await is_server(tls_server.address)
    done = run(empty_home, "ps", host=tls_server.address)
    assert done.returncode == 1 and "not trusted" in done.stderr and "Traceback" not in done.stderr
    with pytest.raises(ConnectionFailedError):  # plain text to a server with TLS
        lm.Client(tls_server.address.replace("https", "http")).connect()


def test_a_certificate_for_another_name_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path, "elsewhere.example")
    with answering_tls(other) as port, pytest.raises(ConnectionFailedError, match="not trusted"):
        lm.Client(f"https://127.0.0.1:{port}", certificate_authority=other.authority).connect()


@contextlib.contextmanager
def answering_tls(certificates: Certificates) -> Iterator[int]:
    """A listener that makes TLS connections and answers nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection, context.wrap_socket(connection, server_side=True) as opened:
                    opened.recv(100)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "wss", "Wss"])
def test_nothing_readable_is_sent_where_tls_was_asked_for(scheme: str) -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        received.append(connection.recv(65536))

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ConnectionFailedError, match=r"TLS|not reachable"):
            lm.Client(
                f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", "sk-lm-aaaaaaaa:bbbbbbbbbbbbbbbbbbbb"
            ).connect()
    assert received and all(data[:1] == b"\x16" and b"GET" not in data for data in received)


@pytest.mark.parametrize("target", ["http://[", "ftp://a:1", "ws://user:hunter2@[", "nonsense"])
def test_a_redirect_that_leads_nowhere_is_an_error_of_ours_by_a_stub_of_the_server(target: str) -> None:
    greeting = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"lmstudio":true}'
    redirect = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(greeting if b"greeting" in connection.recv(65536) else redirect)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ConnectionFailedError, match="not reachable"):
            lm.Client(f"127.0.0.1:{listener.getsockname()[1]}").list_loaded_models()


def test_a_server_without_tls_is_not_used_where_tls_was_asked_for(plain_server: Server) -> None:
    assert plain_server.address.startswith("[::1]:")
    with pytest.raises(ConnectionFailedError, match=r"No TLS connection.*http://"):
        lm.Client(f"https://{plain_server.address}").list_loaded_models()
    port = plain_server.address.rpartition(":")[2]
    for form in (plain_server.address, f"HTTP://{plain_server.address}/", f"localhost:{port}"):
        with lm.Client(form) as client:
            assert client.list_loaded_models() == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_used_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"authority\.pem, which certificate_authority names, cannot be used"):
        lm.Client(f"https://127.0.0.1:{free_port()}", certificate_authority=path).connect()


def test_certificates_of_a_server_that_cannot_be_used_are_named(
    certificates: Certificates, tmp_path: Path, empty_home: Home
) -> None:
    from studiolo.server.serve_options import check_certificate

    other = make_certificates(tmp_path)
    secret = tmp_path / "passwords"
    secret.write_text("hunter2")
    for certificate, key, said in (
        (certificates.certificate, tmp_path / "nowhere", "nowhere cannot be read. No such file"),
        (certificates.certificate, other.key, "not the certificate's"),
        (secret, certificates.key, "not in PEM form"),
        (certificates.certificate, encrypted(other.key), "is encrypted"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            check_certificate(str(certificate), str(key))
        assert "hunter2" not in str(caught.value)
    done = run(empty_home, "serve", "--port", "0", "--no-load", "--key", str(certificates.key))
    assert done.returncode == 1 and "--certificate" in done.stderr
    with pytest.raises(StudioloError):
        lm.Client(f"127.0.0.1:{free_port()}").connect()
