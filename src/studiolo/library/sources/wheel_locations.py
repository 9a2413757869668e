"""Locate the wheels of the ``pypi`` source, so that a partial download can be resumed.

pip itself cannot resume one in a later run. It reports the address and the hash that its configured index has; if its
configuration has more than an address (a proxy, a client certificate, a trusted host), or if anything else is in the
way, pip downloads the wheel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from ...struct_types import examined
from ..partial_downloads import bytes_in
from .base import SourceUnavailable
from .worker_process import run_worker

# Settings of pip's requests, which our requests do not support.
_OF_PIP_ALONE = {"proxy", "client-cert", "trusted-host", "keyring-provider"}

_METADATA_BYTES = 4_000_000
"""If the index has neither separate metadata nor ranges, pip downloads the wheel to read it; it is stopped then."""


class Location(Struct, frozen=True):
    """The address of a wheel, and the file of certificates that pip's configuration names."""

    url: str
    sha256: str
    certificates: str | None = None


class _Archive(Struct):
    hashes: dict[str, str] = {}


class _DownloadInfo(Struct):
    url: str
    archive_info: _Archive


class _Project(Struct):
    name: str
    version: str


class _Install(Struct):
    download_info: _DownloadInfo
    metadata: _Project


class _Report(Struct):
    install: list[_Install]


async def locate(requirements: Sequence[str], options: Sequence[str], folder: Path) -> dict[str, Location]:
    """Return the locations of wheels by ``name==version``, with normalized names; empty if pip has to download them.

    Parameters:
        requirements: ``name==version``, each.
        options: options of pip.
        folder: a folder for temporary files.
    """
    report, temporary = folder / "report.json", folder / "metadata"
    temporary.mkdir(exist_ok=True)

    def look() -> None:
        if bytes_in(temporary) > _METADATA_BYTES:
            raise SourceUnavailable("pip downloads the wheel")

    settings: list[str] = []
    command = ["pip", "install", "--dry-run", "--ignore-installed", "--quiet", *options, "--report", str(report)]
    command.append("--use-feature=fast-deps")  # without separate metadata, read only that part of the wheel
    try:
        await run_worker(["pip", "config", "list"], on_line=lambda line: settings.append(line.decode()))
        configured = {match[1]: match[2] for line in settings if (match := re.match(r"\S*\.([\w-]+)='(.*)'", line))}
        if configured.keys() & _OF_PIP_ALONE:
            return {}
        await run_worker([*command, *requirements], environment={"TMPDIR": str(temporary)}, on_tick=look)
        found = msgspec.json.decode(report.read_bytes(), type=examined(_Report)).install
    except (SourceUnavailable, OSError, msgspec.MsgspecError):
        return {}
    return {
        requirement(each.metadata.name, each.metadata.version): Location(
            each.download_info.url, sha256, configured.get("cert")
        )
        for each in found
        if each.download_info.url.startswith(("https://", "http://"))
        and (sha256 := each.download_info.archive_info.hashes.get("sha256"))
    }


def requirement(name: str, version: str) -> str:
    """Return ``name==version``, with a normalized name."""
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"
