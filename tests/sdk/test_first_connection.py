"""The first connection of a client counts in ``timeout=``, over stub servers that accept it and do not answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import studiolo as lm
from studiolo.sdk import default_client
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

LIMIT_SEC = 0.3
GREETING = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\n{"lmstudio":true}'


@contextlib.contextmanager
def silent_server(greeting: bytes) -> Iterator[str]:
    """The address of a server that accepts connections, and answers requests for its greeting with ``greeting``."""
    held: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                if greeting and b"greeting" in connection.recv(65536):
                    connection.sendall(greeting)
                    connection.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for connection in held:
                connection.close()
            thread.join()


@pytest.fixture
def no_default_client(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(default_client, "_default_client", None)
    return monkeypatch


FUNCTIONS: dict[str, Callable[[], object]] = {
    "llm": lambda: lm.llm(timeout=LIMIT_SEC),
    "embedding_model": lambda: lm.embedding_model(timeout=LIMIT_SEC),
    "list_downloaded_models": lambda: lm.list_downloaded_models(timeout=LIMIT_SEC),
    "list_loaded_models": lambda: lm.list_loaded_models(timeout=LIMIT_SEC),
    "prepare_image": lambda: lm.prepare_image(b"image", timeout=LIMIT_SEC),
    "prepare_audio": lambda: lm.prepare_audio(b"audio", timeout=LIMIT_SEC),
}


@pytest.mark.parametrize("call", FUNCTIONS)
def test_the_default_client_s_on_a_stub_server(no_default_client: pytest.MonkeyPatch, call: str) -> None:
    with silent_server(b"") as address:
        no_default_client.setattr(default_client, "_default_host", address)
        with pytest.raises(lm.TimeLimitError, match=rf"^{call}\(\) took longer than the time limit of 0\.3 s"):
            FUNCTIONS[call]()


CALLS: dict[str, Callable[[lm.Client], object]] = {
    "model": lambda client: client.llm.model(timeout=LIMIT_SEC),
    "list_loaded": lambda client: client.llm.list_loaded(timeout=LIMIT_SEC),
    "The prediction": lambda client: lm.LLM(lm.AsyncLLM("alpha", client.asynchronous._session, "llm")).respond(
        "Hi", timeout=LIMIT_SEC
    ),
    "embed": lambda client: lm.EmbeddingModel(
        lm.AsyncEmbeddingModel("vectors", client.asynchronous._session, "embedding")
    ).embed("text", timeout=LIMIT_SEC),
    "prepare_file": lambda client: client.files.prepare_file(b"text", timeout=LIMIT_SEC),
    "info": lambda client: client.system.info(timeout=LIMIT_SEC),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_client_s_on_a_stub_server_that_greets(call: str) -> None:
    with silent_server(GREETING) as address:
        client = lm.Client(address)
        with pytest.raises(lm.TimeLimitError, match=rf"^{call}(\(\))? took longer than the time limit of 0\.3 s"):
            CALLS[call](client)
        client.close()


def test_connect_on_a_stub_server() -> None:
    with silent_server(b"") as address, pytest.raises(lm.TimeLimitError, match=r"^connect\(\) took longer"):
        lm.Client(address).connect(timeout=LIMIT_SEC)


def test_a_connection_that_another_thread_makes_on_a_stub_server(no_default_client: pytest.MonkeyPatch) -> None:
    faults: list[Exception] = []

    def connect() -> None:
        try:
            lm.list_loaded_models()
        except Exception as error:
            faults.append(error)

    other = threading.Thread(target=connect)
    with silent_server(b"") as address:
        no_default_client.setattr(default_client, "_default_host", address)
        other.start()
        wait_until(default_client._lock.locked, "the other thread to connect")
        with pytest.raises(lm.TimeLimitError, match=r"^llm\(\) took longer than the time limit of 0\.3 s"):
            lm.llm(timeout=LIMIT_SEC)
    other.join()
    assert isinstance(faults[0], lm.ConnectionFailedError)
