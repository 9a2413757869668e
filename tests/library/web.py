"""A package index and a model hub on the loopback interface, which can stop in the middle of an answer."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Web:
    """Serves wheels under ``/simple`` and files of repositories under ``/OWNER/NAME/resolve/main``."""

    def __init__(self) -> None:
        self.content: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.gets: Counter[str] = Counter()
        """How often each path was fetched."""
        self.held = threading.Event()
        """Set when half of a large answer is sent and the other half is held back."""
        self.go_on = threading.Event()
        """Clear it to hold back the second half of large answers."""
        self.go_on.set()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                web._answer(self, body=False)

            def do_GET(self) -> None:
                web._answer(self, body=True)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add_wheel(self, name: str, members: dict[str, bytes]) -> dict[str, Any]:
        """Publish version 1.0 of a wheel; returns what a catalog says of it."""
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
        self.content[f"/simple/{name}/"] = (f'<a href="/{file}">{file}</a>'.encode(), {"Content-Type": "text/html"})
        self.content[f"/{file}"] = (buffer.getvalue(), {})
        member = next(iter(members))
        return {"name": name, "version": "1.0", "member": member, "size_bytes": len(buffer.getvalue())}

    def add_file(self, repo: str, file: str, content: bytes, sha256: str | None = None) -> dict[str, Any]:
        """Publish a large file of a repository; returns what a catalog says of it."""
        etag = sha256 or hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": "0" * 40}
        self.content[f"/{repo}/resolve/main/{file}"] = (content, headers)
        return {"type": "hf", "repo": repo, "file": file}

    def _answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = request.path.partition("?")[0]
        content, headers = self.content.get(path, (b"", {}))
        request.send_response(200 if path in self.content else 404)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if not body:
            return
        self.gets[path] += 1
        half = len(content) // 2 if len(content) > 1 << 20 else len(content)
        try:
            request.wfile.write(content[:half])
            if half < len(content):
                self.held.set()
                self.go_on.wait(60)
                request.wfile.write(content[half:])
        except OSError:
            request.close_connection = True

    def wait_until_held(self, seconds: float = 20) -> None:
        """Wait until a client has half of a large answer."""
        assert self.held.wait(seconds), "nobody came to fetch"
        time.sleep(0.2)
