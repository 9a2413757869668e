"""A llama-server that is made up in the tests' own process: it answers with whatever bytes a test has planned."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.engines.llama_cpp.endpoint import Endpoint
from studiolo.engines.llama_cpp.engine import LlamaCppEngine
from studiolo.engines.llama_cpp.kind import CAPABILITIES
from studiolo.engines.llama_cpp.launch_template import LaunchTemplate
from studiolo.engines.spec import EngineSpec, Node
from studiolo.errors import EngineDiedError

USUAL: dict[str, Any] = {
    "/health": {"status": "ok"},
    "/tokenize": {"tokens": [1, 2]},
    "/detokenize": {"content": "text"},
    "/props": {"bos_token": "<s>", "eos_token": "</s>"},
    "/slots": [{"id": 0, "speculative": True}],
    "/v1/embeddings": {"data": [{"embedding": [1.0, 2.0], "index": 0}], "usage": {"prompt_tokens": 3}},
    "/v1/models": {"data": [{"meta": {"n_vocab": 100}}]},
    "/apply-template": {"prompt": "text"},
}
"""What it answers where nothing is planned."""


def http(body: bytes) -> bytes:
    """Return a whole answer without a fault."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class MadeUpLlamaServer:
    """A server on a Unix socket.

    Parameters:
        path: the socket.
    """

    def __init__(self, path: Path) -> None:
        self.endpoint = Endpoint(socket_path=path)
        self.plan: dict[str, list[bytes]] = {}
        """The pieces of the answers by their path; each is sent by itself, and the connection closed after the last."""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.endpoint.hostname, limit=1 << 26)

    async def stop(self) -> None:
        """Stop to listen."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            path = head.split()[1].decode().partition("?")[0]
            pieces = self.plan.get(path)
            for piece in [http(json.dumps(USUAL[path]).encode())] if pieces is None else pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client had enough
        finally:
            writer.close()


class StubWorker:
    """The process of an engine that is made up: it runs until it is stopped."""

    pid = 2**30
    gpu_layers: int | None = None

    def __init__(self) -> None:
        self.exited = asyncio.Event()

    def abort(self, reason: str) -> None:
        self.exited.set()

    def death(self) -> EngineDiedError:
        return EngineDiedError("The made-up engine has ended")

    async def stop(self) -> None:
        self.exited.set()


def made_up_engine(server: MadeUpLlamaServer, spec: EngineSpec, node: Node) -> LlamaCppEngine:
    """Return an engine whose llama-server is made up."""
    worker: Any = StubWorker()
    client = LlamaServerClient(server.endpoint, spec.config.context_length)
    template = LaunchTemplate(spec, node.templates)
    return LlamaCppEngine(
        worker, client, Endpoint(), "llama.cpp", "1.0", CAPABILITIES, spec=spec, template=template, node=node
    )
