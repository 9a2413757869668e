"""A package index, a model hub and any web server, on the loopback interface, with the faults that such have."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

COMMIT = "c0ffee" + "0" * 34
LARGE = 1 << 20
"""Answers longer than this can be held, reset and slowed down."""


@dataclass
class Request:
    """A request that was answered."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    """Bytes of the answer's body that were given to the network."""

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class Fault:
    """What goes wrong with the next ``times`` answers to paths that contain ``match``."""

    match: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reset_after: int | None = None
    """Bytes after which the connection is reset, once ``until`` is true: a reset takes what was not read yet along."""
    until: Callable[[], object] = lambda: True
    ignore_ranges: bool = False
    cut_after: int | None = None
    """Bytes after which the connection ends as if all were well."""


class Web:
    """``url`` is the hub and the index; large files are on ``cdn_url``, another origin, as on the real hub.

    Wheels are under ``/simple``, a hub's API under ``/api/models``, its files under ``/OWNER/NAME/resolve/REVISION``.
    """

    def __init__(self) -> None:
        self.content: dict[str, tuple[bytes, dict[str, str]]] = {}
        """What is served under which path; a change takes effect at the next request."""
        self.repos: dict[str, dict[str, tuple[bytes, str]]] = {}
        """The files of repositories: their content, and the sha256 that the hub states."""
        self.gated: set[str] = set()
        self.token: str | None = None
        """The token that gated repositories ask for."""
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.pace: tuple[int, float] | None = None
        """Send so many bytes, then wait so many seconds."""
        self.held = threading.Event()
        """Set when half of a large answer is sent and the other half is held back."""
        self.go_on = threading.Event()
        """Clear it to hold back the second half of large answers."""
        self.go_on.set()
        self._servers = [_server(self), _server(self)]
        self.url, self.cdn_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in self._servers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.pace = None
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def add_wheel(self, name: str, members: dict[str, bytes], *, metadata: bool = True) -> dict[str, Any]:
        """Publish version 1.0 of a wheel, its metadata apart if the index does that; returns what a catalog says."""
        stem = f"{name.replace('-', '_')}-1.0"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
            about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            archive.writestr(f"{stem}.dist-info/METADATA", about)
            archive.writestr(
                f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        file = f"{stem}-py3-none-any.whl"
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        apart = f' data-core-metadata="sha256={hashlib.sha256(about.encode()).hexdigest()}"' if metadata else ""
        link = f'<a href="/{file}#sha256={digest}"{apart}>{file}</a>'
        self.content[f"/simple/{name}/"] = (link.encode(), {"Content-Type": "text/html"})
        self.content[f"/{file}"] = (buffer.getvalue(), {})
        self.content[f"/{file}.metadata"] = (about.encode(), {})
        member = next(iter(members))
        return {"name": name, "version": "1.0", "member": member, "size_bytes": len(buffer.getvalue())}

    def add_file(self, repo: str, file: str, content: bytes, sha256: str | None = None) -> dict[str, Any]:
        """Publish a large file of a repository on the hub; returns what a catalog says of it."""
        digest = hashlib.sha256(content).hexdigest()
        self.repos.setdefault(repo, {})[file] = (content, sha256 or digest)
        self.content[f"/cdn/{repo}/{file}"] = (content, {"ETag": f'"cdn-{digest[:8]}"'})
        return {"type": "hf", "repo": repo, "file": file}

    def add_plain(self, path: str, content: bytes, **headers: str) -> str:
        """Publish a file on a plain web server; returns its address."""
        self.content[path] = (content, {name.replace("_", "-"): value for name, value in headers.items()})
        return f"{self.url}{path}"

    def fail(self, match: str, **fault: Any) -> None:
        """Let something go wrong: see :class:`Fault`."""
        self.faults.append(Fault(match, **fault))

    def transfers(self, path: str) -> list[Request]:
        """The requests that fetched a file whose path ends in ``path``, redirects left out, in their order."""
        return [
            each for each in self.requests if each.method == "GET" and each.path.endswith(path) and each.status != 302
        ]

    def wait_until_held(self, seconds: float = 60) -> None:
        """Wait until a client has half of a large answer."""
        assert self.held.wait(seconds), "nobody came to fetch"
        time.sleep(0.2)

    # What follows answers requests, in a thread for each connection.

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, unquote(handler.path), headers)
        fault = self._next_fault(request.path)
        if fault is not None and fault.status is not None:
            self._send(handler, request, fault.status, fault.headers, b"")
        else:
            status, more, body = self._find(request)
            if fault is not None and fault.ignore_ranges:
                more = {name: value for name, value in more.items() if name != "Accept-Ranges"}
            elif status == 200:
                status, more, body = _part(headers, more, body)
            self._send(handler, request, status, more, body, fault)

    def _next_fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.match in path and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _find(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(request.path)
        if parts.path in self.content:
            body, headers = self.content[parts.path]
            return 200, {"Accept-Ranges": "bytes", **headers}, body
        if parts.path == "/api/models":
            return _json(self._search(parse_qs(parts.query)))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", parts.path):
            return self._repo_or_refusal(request, match[1]) or self._describe(match[1], match[2])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path):
            return self._repo_or_refusal(request, match[1]) or self._resolve(match[1], match[3])
        return 404, {}, b""

    def _search(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        term = query.get("search", [""])[0].lower()
        limit = int(query.get("limit", ["50"])[0])
        assert "gguf" in query.get("filter", []), "only repositories with GGUF files are of use"
        found = [repo for repo in self.repos if all(word in repo.lower() for word in term.split())]
        return [self._about(repo) for repo in found][:limit]

    def _about(self, repo: str) -> dict[str, Any]:
        return {
            "_id": "1",
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "downloads": 1234,
            "likes": 5,
            "tags": ["gguf"],
            "private": False,
            "gated": "auto" if repo in self.gated else False,
            "pipeline_tag": "text-generation",
        }

    def _repo_or_refusal(self, request: Request, repo: str) -> tuple[int, dict[str, str], bytes] | None:
        if repo not in self.repos:  # as the real one does: it does not reveal what is private
            code = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            return (401 if "authorization" not in request.headers else 404), code, b""
        if repo in self.gated and "/resolve/" in request.path:
            token = request.headers.get("authorization")
            if token is None or token != f"Bearer {self.token}":
                code = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
                return (401 if token is None else 403), code, b""
        return None

    def _describe(self, repo: str, kind: str | None) -> tuple[int, dict[str, str], bytes]:
        files = [
            {"rfilename": path, "size": len(content), "lfs": {"sha256": sha256, "size": len(content), "pointerSize": 1}}
            for path, (content, sha256) in self.repos[repo].items()
        ]
        if kind == "tree":
            return _json([{"type": "file", "path": each["rfilename"], "size": each["size"]} for each in files])
        return _json({**self._about(repo), "siblings": files})

    def _resolve(self, repo: str, file: str) -> tuple[int, dict[str, str], bytes]:
        if file not in self.repos[repo]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        content, sha256 = self.repos[repo][file]
        headers = {
            "Location": f"{self.cdn_url}/cdn/{repo}/{file}",
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": COMMIT,
            "X-Xet-Hash": "0" * 64,  # says that the file could be fetched by another protocol, too
        }
        return 302, headers, b""

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        request: Request,
        status: int,
        headers: dict[str, str],
        body: bytes,
        fault: Fault | None = None,
    ) -> None:
        request.status = status
        self.requests.append(request)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(OSError):
            handler.end_headers()
            if request.method == "HEAD":
                return
            half = len(body) // 2 if len(body) > LARGE and not self.go_on.is_set() else len(body)
            if fault is not None and fault.reset_after is not None:
                self._write(handler, request, body[: fault.reset_after])
                end = time.monotonic() + 30
                while not fault.until() and time.monotonic() < end:
                    time.sleep(0.05)
                # Closing with this set sends a reset in place of a proper end.
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                handler.connection.close()
                handler.close_connection = True
            elif fault is not None and fault.cut_after is not None:
                self._write(handler, request, body[: fault.cut_after])
                handler.close_connection = True
            else:
                self._write(handler, request, body[:half])
                if half < len(body):
                    self.held.set()
                    self.go_on.wait(60)
                    self._write(handler, request, body[half:])
            return
        handler.close_connection = True

    def _write(self, handler: BaseHTTPRequestHandler, request: Request, body: bytes) -> None:
        sent = 0
        while sent < len(body):
            size, pause = self.pace if self.pace and len(body) > LARGE else (1 << 16, 0.0)
            handler.wfile.write(piece := body[sent : sent + size])
            sent += len(piece)
            request.sent += len(piece)
            time.sleep(pause)
        handler.wfile.flush()


def _part(headers: dict[str, str], more: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """The part that a request asks for (``Range``, ``If-Range``), else all of it."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    condition = headers.get("if-range")
    if match is None or (condition is not None and condition not in (more.get("ETag"), more.get("Last-Modified"))):
        return 200, more, body
    start = int(match[1])
    if start >= len(body):
        return 416, {**more, "Content-Range": f"bytes */{len(body)}"}, b""
    part = body[start : int(match[2]) + 1] if match[2] else body[start:]
    return 206, {**more, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(body)}"}, part


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _server(web: Web) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            web.answer(self)

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server


def go_nowhere_else(patch: pytest.MonkeyPatch, web: Web, folder: Path) -> None:
    """Let pip and the hub's client go to ``web``, and to nothing else; their caches are in ``folder``."""
    patch.setenv("PIP_CONFIG_FILE", "/dev/null")
    patch.setenv("PIP_INDEX_URL", f"{web.url}/simple")
    patch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_NO_INDEX", "HF_HUB_OFFLINE"):
        patch.delenv(name, raising=False)
    patch.setenv("HF_ENDPOINT", web.url)
    patch.setenv("HF_HOME", str(folder / "hf"))
    patch.setenv("NO_PROXY", "127.0.0.1")
