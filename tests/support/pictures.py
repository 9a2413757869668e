"""A web server with one picture on several paths, documents, redirects and faults."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from PIL import Image

from tests.support.document_files import pdf


def picture() -> bytes:
    data = BytesIO()
    Image.new("RGB", (64, 48), "red").save(data, "PNG")
    return data.getvalue()


PICTURE = picture()


class Pictures(ThreadingHTTPServer):
    """The server; it runs where a test serves it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str]] = []
        """The path and the ``Host`` of each request."""
        self.hold = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Pictures

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        match self.path.partition("?")[0].split("/")[1:]:
            case ["picture", *_]:
                self.answer(200, PICTURE, Content_Type="text/plain")
            case ["page"]:
                self.answer(200, b"<html>", Content_Type="image/png")
            case ["story.php"]:
                self.answer(200, b"<p>Foxes &amp; geese</p>", Content_Type="text/html; charset=utf-8")
            case ["letter.txt"]:
                self.answer(200, "Für Élise".encode("cp1252"))
            case ["report.pdf"]:
                self.answer(200, pdf(["Sales rose."]), Content_Type="application/octet-stream")
            case ["packed"]:
                self.answer(200, PICTURE, Content_Encoding="gzip")
            case ["large"]:
                self.answer(200, b"", Content_Length=str(1 << 30))
            case ["endless"]:
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(PICTURE + bytes(1 << 18))
                except OSError:
                    pass
            case ["slow"]:
                self.server.hold.wait(30)
            case ["once"]:
                self.answer(302, Location="/picture")
            case ["loop"]:
                self.answer(302, Location="/loop")
            case ["file"]:
                self.answer(302, Location="file:///etc/hostname")
            case ["elsewhere"]:
                self.answer(307, Location=f"http://127.0.0.2:{self.server.server_port}/picture")
            case _:
                self.answer(404)
