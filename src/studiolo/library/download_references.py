"""Parse the names of downloads: a repository on the hub, a web address, or a path."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from . import hub

_REPO = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_HUB_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}


class HubReference(Struct, frozen=True):
    """A repository on the hub, or one quantisation or file of it."""

    repo: str
    revision: str = "main"
    file: str | None = None
    quantization: str | None = None


class WebReference(Struct, frozen=True):
    """A GGUF file on a web server."""

    url: str


class PathReference(Struct, frozen=True):
    """A GGUF file on this machine."""

    path: Path


Reference = HubReference | WebReference | PathReference


def parse(name: str) -> Reference | None:
    """Return the reference that ``name`` is; ``None`` if it can only be a name in the catalog or the library.

    The forms are ``owner/repo``, ``owner/repo@quant``, ``owner/repo/file.gguf``, each also after ``hf:`` or ``hf.co/``;
    the address of a repository or of a file on the hub; any other ``https://`` address of a ``.gguf`` file; and a path,
    absolute or beginning with ``~`` or a dot.
    """
    name = name.strip()
    try:
        return None if "\0" in name else _parsed(name)
    except ValueError:  # an address that is none, such as "https://["
        return None


def _parsed(name: str) -> Reference | None:
    if re.match(r"https?://", name, re.IGNORECASE):
        return _from_url(name)
    if name.startswith(("/", "~", "./", "../")):
        path = Path(name)
        with contextlib.suppress(RuntimeError):  # "~" and the name of nobody: a file that does not exist
            path = path.expanduser()
        return PathReference(path.absolute())
    if name.startswith("file:"):
        return PathReference(Path(unquote(urlsplit(name).path)))
    short = re.sub(r"^(hf:(//)?|(www\.)?huggingface\.co/|hf\.co/)", "", name)
    match = re.fullmatch(rf"({_REPO})(?:@([\w.-]+)|/(\S+\.gguf))?", short, re.IGNORECASE)
    if match is None:
        return None
    return HubReference(match[1], file=match[3], quantization=match[2].lower() if match[2] else None)


def _from_url(url: str) -> Reference | None:
    parts = urlsplit(url)
    if parts.netloc.lower() in _HUB_HOSTS | {urlsplit(hub.endpoint()).netloc.lower()}:
        path = unquote(parts.path).strip("/")
        match = re.fullmatch(rf"({_REPO})(?:/(?:blob|resolve|raw)/([^/]+)/(\S+\.gguf)|/tree/([^/]+)(?:/.*)?)?", path)
        if match is not None and (match[3] or not match[1].lower().endswith(".gguf")):
            return HubReference(match[1], revision=match[2] or match[4] or "main", file=match[3])
    return WebReference(url) if unquote(parts.path).lower().endswith(".gguf") else None
