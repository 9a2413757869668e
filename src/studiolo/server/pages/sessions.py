"""One-time links to the pages, and the sessions that they begin. Both are texts signed with the key of the pages.

A signed text is the same for every server of a home, so that a session outlives a server that is restarted. It is
bound to the port, because the program that listens at another port may be another user's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

LINK_SEC = 300.0
"""How long a link can be used, once."""

SESSION_SEC = 7 * 86400.0
"""How long a session lasts."""

MAX_USED_LINKS = 10_000

_SIGNED = re.compile(r"(\d{1,12})\.([A-Za-z0-9]{0,8})\.([0-9a-f]{32})\.([0-9a-f]{64})")


class _Signed(NamedTuple):
    expires: int
    owner: str
    nonce: str


def sign_link(key: bytes, port: int, owner: str = "", now: float | None = None) -> str:
    """Return the code of a link.

    Parameters:
        key: the key of the pages.
        port: the port of the server that the link is for.
        owner: the identifier of the API token that the session belongs to; empty for the user of this machine.
    """
    return _sign(key, "link", port, owner, LINK_SEC, now)


class PageSessions:
    """The links and sessions of a server.

    Parameters:
        has_owner: called with the identifier of an API token; returns whether it is still accepted.
        clock: seconds since 1970.
    """

    def __init__(self, has_owner: Callable[[str], bool], clock: Callable[[], float] = time.time) -> None:
        self._has_owner = has_owner
        self._clock = clock
        self._began = clock()
        self._used: dict[str, int] = {}

    def begin(self, key: bytes, port: int, code: str) -> str | None:
        """Return the cookie of the session that a link begins; ``None`` if the link is not valid, or was used."""
        now = self._clock()
        link = _read(key, "link", port, code, now)
        self._used = {nonce: expires for nonce, expires in self._used.items() if expires >= now}
        if link is None or link.nonce in self._used or len(self._used) >= MAX_USED_LINKS:
            return None
        if link.expires - LINK_SEC < self._began - 1:  # of before this server, which does not know whether it was used
            return None
        self._used[link.nonce] = link.expires
        return _sign(key, "session", port, link.owner, SESSION_SEC, now)

    def owner(self, key: bytes, port: int, cookie: str) -> str | None:
        """Return the owner of a session; ``None`` if there is no such session, or it has ended."""
        session = _read(key, "session", port, cookie, self._clock())
        if session is None or (session.owner and not self._has_owner(session.owner)):
            return None
        return session.owner


def _sign(key: bytes, kind: str, port: int, owner: str, length_sec: float, now: float | None) -> str:
    expires = int((time.time() if now is None else now) + length_sec)
    nonce = secrets.token_hex(16)
    return f"{expires}.{owner}.{nonce}.{_mac(key, kind, port, _Signed(expires, owner, nonce))}"


def _read(key: bytes, kind: str, port: int, text: str, now: float) -> _Signed | None:
    if (match := _SIGNED.fullmatch(text)) is None:
        return None
    signed = _Signed(int(match[1]), match[2], match[3])
    if not hmac.compare_digest(_mac(key, kind, port, signed), match[4]) or signed.expires < now:
        return None
    return signed


def _mac(key: bytes, kind: str, port: int, signed: _Signed) -> str:
    text = f"{kind}.{port}.{signed.expires}.{signed.owner}.{signed.nonce}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
