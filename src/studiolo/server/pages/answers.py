"""The answers at the pages' address that are not of the pages: plain ones, which need nothing but the server."""

from __future__ import annotations

import html
from collections.abc import Mapping

import msgspec
from litestar.types import Scope, Send

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:12vh auto;padding:0 1.2rem;color-scheme:light dark}"
    "code{padding:.1em .35em;border:1px solid currentColor;border-radius:.3em}"
)
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",  # the address of a link has its code
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_CONTENT = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def plain_page(title: str, *paragraphs: str, head: str = "") -> bytes:
    """Return a page of text, in which backquotes mark code."""
    body = "".join(f"<p>{_with_code(each)}</p>" for each in paragraphs)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>{head}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{html.escape(title)}</h1>{body}</main></body></html>"
    ).encode()


def _with_code(text: str) -> str:
    pieces = html.escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))


async def answer_page(send: Send, status: int, page: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Send a plain page."""
    kind = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": _CONTENT,
        "cache-control": "no-store",
    }
    await _answer(send, status, page, {**kind, **SECURITY, **(headers or {})})


async def answer_json(send: Send, status: int, body: object) -> None:
    """Send a JSON body, for a program."""
    kind = {"content-type": "application/json", "cache-control": "no-store"}
    await _answer(send, status, msgspec.json.encode(body), kind)


async def refuse(scope: Scope, send: Send, status: int, title: str, *paragraphs: str) -> None:
    """Refuse a request, also one for a WebSocket, with a plain page."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": None})
    else:
        await answer_page(send, status, plain_page(title, *paragraphs))


async def _answer(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    fields.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})
