"""What ``studiolo doctor`` looks at. Native code is tried in processes of its own, so that it may die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from .._version import __version__
from ..engines.chat_templates.process import TemplateProcesses
from ..engines.registry import EngineKinds
from ..engines.spec import Finding, Node
from ..errors import ConfigError, UnsupportedError
from ..host import machine
from ..host.settings_review import Doubt, review
from ..host.template_problems import TemplateProblems
from ..library.model_library import Library
from ..library.other_programs import (
    PROGRAM_NAMES,
    further_folder,
    program_folders,
    unreadable_folders,
)
from ..paths import Home, writing_remedy
from ..platform.processors import engine_threads, usable_processors
from ..sdk.discovery import SDK_PORTS, is_server
from ..settings import Settings, read_settings
from .daemon_record import running_daemon

CPU_FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "sve")
LOW_DISK_BYTES = 5 * 10**9
LOW_MEMORY_BYTES = 2 * 10**9

_TRIAL_BYTES = 8192
_WITHOUT_WRITING = "models run, and nothing is downloaded, remembered or logged"


def examine(home: Home) -> list[Finding]:
    """Look at everything. Blocks for some seconds; leaves nothing but the cache of the models' metadata."""
    fault = home.fault()
    settings, finding = _settings(home) if fault is None else (Settings(), None)
    findings = [
        Finding(what="studiolo", found=f"{__version__}, Python {platform.python_version()}, {platform.platform()}"),
        *asyncio.run(_engines(home, settings)),
        _processor(),
        *_memory(),
    ]
    if finding is None:
        remedy = "Set STUDIOLO_HOME to a folder that can be written to."
        return [*findings, Finding(what="home", found=f"{home.root}: {fault}", remedy=remedy), _network()]
    return [
        *findings,
        *_folders(home, settings),
        finding,
        _state(home),
        *_ports(settings),
        _server(home),
        *_library(home, settings),
        _network(),
    ]


def _settings(home: Home) -> tuple[Settings, Finding]:
    try:
        settings = read_settings(home.settings)
    except ConfigError as error:
        remedy = error.suggestion or "Fix the file."
        return Settings(), Finding(what="settings", found=f"{error.title}. {error.cause or ''}", remedy=remedy)
    found = str(home.settings) if home.settings.exists() else "the defaults (there is no config.toml)"
    return settings, Finding(what="settings", found=found)


async def _engines(home: Home, settings: Settings) -> list[Finding]:
    node = Node(
        name=machine.device_name(),
        models=home.models,
        logs=home.engine_logs,
        run=lambda: home.root,
        settings=lambda: settings.engine,
    )
    kinds = EngineKinds(node)
    findings: list[Finding] = []
    for name in kinds.names:
        try:
            findings += await kinds.kind(name).diagnose()
        except UnsupportedError as error:
            findings.append(Finding(what=name, found=f"{error.title}: {error.cause}", remedy=error.suggestion))
    return findings


def _processor() -> Finding:
    processor = machine.processor()
    features = [feature for feature in CPU_FEATURES if feature in processor.features]
    cores = f"{psutil.cpu_count(logical=False) or '?'} cores, {psutil.cpu_count()} threads"
    usable, threads = usable_processors(), engine_threads()
    if usable.count < (psutil.cpu_count() or 1):
        cores += f", of which {usable.count} may be used ({usable.reason})"
    cores += f"; engines use {threads.count} threads ({threads.reason})" if threads else "; engines use a thread a core"
    return Finding(
        what="processor", found=f"{processor.name}; {cores}; it advertises {', '.join(features) or 'no known features'}"
    )


def _memory() -> Iterator[Finding]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    low = memory.available < LOW_MEMORY_BYTES
    yield Finding(
        what="memory",
        found=f"{_gb(memory.total)}, {_gb(memory.available)} available; swap {_gb(swap.total)}, {_gb(swap.used)} used",
        remedy="Close other programs, or unload models: studiolo ps shows them." if low else None,
    )


def _folders(home: Home, settings: Settings) -> Iterator[Finding]:
    yield _folder("home", home.root, "Few models fit: remove some (studiolo rm), or move STUDIOLO_HOME.")
    yield _folder("models", home.models, "Few models fit: remove some (studiolo rm), or move STUDIOLO_HOME.")
    yield _folder("logs", home.logs, None)
    for name in settings.library.folders:
        folder = further_folder(home, name)
        try:
            if not folder.is_dir():
                continue  # a setting without an effect
            readable = os.access(folder, os.R_OK | os.X_OK)
            found = f"{folder}, {_gb(shutil.disk_usage(folder).free)} free" if readable else ""
        except OSError:
            found = ""
        if found and not os.access(folder, os.W_OK):
            found += ", read only"
        yield Finding(
            what="model folder",
            found=found or f"{folder} cannot be read",
            remedy=None if found else "Fix library.folders in config.toml.",
        )
    for program in settings.library.programs:
        for folder in program_folders(program):
            yield Finding(what=f"models of {PROGRAM_NAMES[program]}", found=str(folder))


def _folder(what: str, folder: Path, scarce: str | None) -> Finding:
    """A folder that studiolo writes to; it may not be there yet.

    Parameters:
        scarce: what to do where there is little space; ``None`` where little is needed.
    """
    place = folder
    try:
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            return Finding(what=what, found=f"{place} is not a folder", remedy=f"Move {place} away.")
        free = shutil.disk_usage(place).free
    except OSError as error:
        found = f"{folder} cannot be looked at: {error.strerror or error}"
        return Finding(what=what, found=found, remedy=f"Give yourself the right to read {folder}.")
    if not os.access(place, os.R_OK | os.X_OK):
        remedy = f"Give yourself the right to read {place}."
        return Finding(what=what, found=f"{folder} cannot be read", remedy=remedy)
    if (refusal := _write_refusal(place)) is not None:
        return Finding(
            what=what,
            found=f"{folder} can be read and not be written to ({refusal.strerror}): {_WITHOUT_WRITING}",
            remedy=writing_remedy(refusal, place),
        )
    missing = "" if place == folder else ", not made yet"
    low = scarce is not None and free < LOW_DISK_BYTES
    return Finding(what=what, found=f"{folder}{missing}, {_gb(free)} free", remedy=scarce if low else None)


def _write_refusal(folder: Path) -> OSError | None:
    """Return why a small file cannot be written into ``folder``; ``None`` if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(_TRIAL_BYTES))
    except OSError as error:
        return error
    return None


def _state(home: Home) -> Finding:
    if not home.state.exists():
        return Finding(what="state", found="none yet")
    try:
        with contextlib.closing(sqlite3.connect(f"{home.state.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict == "ok":
        return Finding(what="state", found=f"{home.state} is sound")
    return Finding(
        what="state", found=f"{home.state}: {verdict}", remedy="Delete it: it holds only what can be read again."
    )


def _ports(settings: Settings) -> Iterator[Finding]:
    """Who listens where our servers and LM Studio's clients look."""
    wanted = settings.server.port
    holder = _holder(wanted)
    yield Finding(
        what=f"port {wanted}",
        found=holder or "free",
        remedy="Serve elsewhere: studiolo serve --port." if holder == "taken by another program" else None,
    )
    holders = {port: _holder(port) for port in SDK_PORTS}
    taken = [f"{port} {holder}" for port, holder in holders.items() if holder]
    full = all(holder == "taken by another program" for holder in holders.values())
    yield Finding(
        what="SDK ports",
        found="; ".join(taken) or "free",
        remedy="LM Studio's SDKs need the address of the server." if full else None,
    )


def _holder(port: int) -> str | None:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)):
            return None
    return "held by a server" if asyncio.run(is_server(f"127.0.0.1:{port}")) else "taken by another program"


def _server(home: Home) -> Finding:
    record = running_daemon(home)
    found = f"runs at {record.address}, process {record.pid}" if record else "none runs in the background"
    return Finding(what="server", found=found)


def _library(home: Home, settings: Settings) -> Iterator[Finding]:
    async def list_models() -> tuple[int, list[str], list[str], list[Doubt]]:
        library = Library(home, settings=lambda: settings)
        templates = TemplateProcesses()
        try:
            models = await library.models()
            doubts = await review(settings, home, library)
            problems = await TemplateProblems(library.state, templates).notes(models)
        finally:
            await templates.close()
            await library.close()
        faulty = [f"{model.path}: {model.error}" for model in models if model.error and not model.fits]
        return len(models), faulty, [f"{path}: {problem}" for path, problem in problems.items()], doubts

    try:
        count, faulty, problems, doubts = asyncio.run(list_models())
    except ConfigError as error:
        yield Finding(what="library", found=error.title, remedy=error.suggestion or "Fix the file.")
        return
    yield Finding(what="library", found=f"{count} models" if count else "empty: studiolo get fetches a model")
    for program in settings.library.programs:
        for folder in unreadable_folders(program):
            yield Finding(what=PROGRAM_NAMES[program], found=f"{folder} may not be read, and counts as empty")
    for fault in faulty:
        yield Finding(what="model file", found=fault, remedy="Fetch it again, or delete it.")
    for problem in problems:
        remedy = "Fetch a file with another template, or set prompt_template in the prediction config."
        yield Finding(what="chat template", found=problem, remedy=remedy)
    for doubt in doubts:
        yield Finding(what="settings", found=f"{doubt.where} has no effect: {doubt.what}", remedy=doubt.remedy)


def _network() -> Finding:
    names = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "PIP_INDEX_URL")
    found = [name for name in names if os.environ.get(name) or os.environ.get(name.lower())]
    return Finding(what="network", found=f"set: {', '.join(found)}" if found else "no proxy and no mirror is set")


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
