"""Where the wheels of the ``pypi`` source are, so that a wheel that came in part can be gone on from.

pip itself cannot do that from one run to the next. It is asked for the address and the hash, which is what its
configured index says; where its configuration asks for more than an address (a proxy, a client's certificate, a trusted
host), or anything else is in the way, pip fetches the wheel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from ..partial_downloads import bytes_in
from .base import SourceUnavailable
from .worker_process import run_worker

# What pip applies to its requests and ours would have to.
_OF_PIP_ALONE = {"proxy", "client-cert", "trusted-host", "keyring-provider"}

_METADATA_BYTES = 4_000_000
"""Without metadata apart from the wheel, and without ranges, pip fetches the wheel to look into it: it is stopped."""


class Location(Struct, frozen=True):
    """Where a wheel is. ``certificates`` is the file that pip's configuration names, if it names one."""

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
    """Where the wheels are, by ``name==version`` with the name in its normal form; empty where pip has to fetch them.

    Parameters:
        requirements: ``name==version``, each.
        options: what pip shall heed.
        folder: to work in.
    """
    report, temporary = folder / "report.json", folder / "metadata"
    temporary.mkdir(exist_ok=True)

    def look() -> None:
        if bytes_in(temporary) > _METADATA_BYTES:
            raise SourceUnavailable("pip fetches the wheel already")

    settings: list[str] = []
    command = ["pip", "install", "--dry-run", "--ignore-installed", "--quiet", *options, "--report", str(report)]
    command.append("--use-feature=fast-deps")  # no metadata apart: it reads that part of the wheel
    try:
        await run_worker(["pip", "config", "list"], on_line=lambda line: settings.append(line.decode()))
        configured = {match[1]: match[2] for line in settings if (match := re.match(r"\S*\.([\w-]+)='(.*)'", line))}
        if configured.keys() & _OF_PIP_ALONE:
            return {}
        await run_worker([*command, *requirements], environment={"TMPDIR": str(temporary)}, on_tick=look)
        found = msgspec.json.decode(report.read_bytes(), type=_Report).install
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
    """``name==version``, with the name in its normal form."""
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"
