"""The server process: its sockets, its start and its stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass

import uvicorn

from .._version import __version__
from ..dialects import dialects
from ..dialects.base import Serving
from ..errors import PortInUseError, StudioloError
from ..host.host import Host
from ..host.instance import Instance
from ..host.load_progress import LoadWatcher, OnFetch
from ..paths import Home
from ..platform import event_loop
from ..platform.limits import raise_open_files
from ..platform.sockets import allow_restart
from ..sdk.discovery import SDK_PORTS, is_server
from .app import create_app
from .daemon import follow_stop_requests, remove_record, write_record
from .daemon_log import CHECK_SEC, rotate_log
from .token_file import ApiTokenFile

LOOPBACK = "127.0.0.1"
DRAIN_LIMIT_SEC = 5
"""Seconds that connections get to end once the server stops."""


PING_INTERVAL_SEC = 30.0
PING_LIMIT_SEC = 150.0
"""A client that answers no ping for this long counts as gone. It is long enough for one that is only busy: in a
debugger, or with a long calculation on its event loop."""

OPEN_FILES = 65536
"""The limit of open files: every idle client holds one."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How to serve.

    Parameters:
        host: the bind address; defaults to the one in the settings.
        port: the port to listen on, 0 for any free one; defaults to the one in the settings.
        load: whether to load a model at once, for clients that use only models that are loaded.
        model: the model to load at once; defaults to the one last used, else to the catalog's default.
        sdk_port: whether to listen on one of the ports where LM Studio's SDKs look, too.
        token_file: the file with the API tokens that clients authenticate with; defaults to the one in the settings.
        background: the options that a server in the background was started with; ``None`` for any other server.
    """

    host: str | None = None
    port: int | None = None
    load: bool = True
    model: str | None = None
    sdk_port: bool = True
    token_file: str | None = None
    background: list[str] | None = None


def serve(options: ServeOptions, say: Callable[[str], None], on_fetch: OnFetch) -> int:
    """Serve until a signal or a command asks the server to stop.

    Parameters:
        say: called with messages for the person at the terminal.
        on_fetch: called with the progress of the first model's download, if one is downloaded.

    Returns:
        The exit status: 0, or 130 after an interrupt.

    Raises:
        PortInUseError: another program listens at the address.
        ConfigError: the settings or the token file are wrong.
    """
    raise_open_files(OPEN_FILES)
    return event_loop.run(_serve(options, say, on_fetch))


async def _serve(options: ServeOptions, say: Callable[[str], None], on_fetch: OnFetch) -> int:
    host = Host()
    settings = host.settings.current().server
    address, port = options.host or settings.host, settings.port if options.port is None else options.port
    token_file = options.token_file or settings.token_file
    try:
        tokens = None if token_file is None else ApiTokenFile(token_file)
        sockets = [await _listen(address, port)]
    except BaseException:
        await host.stop()
        raise
    port = sockets[0].getsockname()[1]
    sdk_port = _listen_for_sdk(sockets, port) if options.sdk_port else None
    spoken = list(dialects().values())
    server = _Server(
        uvicorn.Config(
            create_app(Serving(host, options.background is not None, tokens), spoken),
            lifespan="off",
            log_level="warning",
            access_log=False,
            ws_max_size=max((dialect.max_message_bytes for dialect in spoken), default=0),
            ws_ping_interval=PING_INTERVAL_SEC,
            ws_ping_timeout=PING_LIMIT_SEC,
            timeout_graceful_shutdown=DRAIN_LIMIT_SEC,
        )
    )
    stopped_by: list[signal.Signals] = []

    beside: list[asyncio.Task[None]] = []

    def stop(number: signal.Signals) -> None:
        stopped_by.append(number)
        if len(stopped_by) == 1:
            beside.append(asyncio.create_task(drain(), name="drain"))
        else:
            server.force_exit = server.should_exit = True

    async def drain() -> None:
        for listener in getattr(server, "servers", []):
            listener.close()
        running = host.requests_under_way()
        limit = host.settings.current().server.drain_limit_sec
        if running:
            say(f"stopping: up to {limit:g} s for the requests under way ({running}). A second signal stops at once.")
        await host.drain(limit)
        server.should_exit = True

    event_loop.on_stop_signal(stop)
    try:
        startup: asyncio.Task[Instance] | None = None
        if options.load:
            startup = host.load_at_startup(options.model, LoadWatcher(on_fetch=on_fetch))
            startup.add_done_callback(lambda task: _report_startup(task, say))
        if options.background is not None:
            write_record(host.home, f"{address}:{port}", options.background)
            beside.append(asyncio.create_task(_rotate_log_regularly(host.home), name="rotate the log"))
            beside.append(asyncio.create_task(follow_stop_requests(host.home, stop), name="stop requests"))
        sdk = f"; LM Studio's SDKs find it at port {sdk_port}" if sdk_port else ""
        say(f"version {__version__} serves at http://{address}:{port}{sdk}")
        if tokens is not None:
            say(f"clients need an API token of {tokens.path}.")
        elif address not in (LOOPBACK, "localhost", "::1"):
            say("Anyone who reaches this address can use it: no API token is required. --token-file requires one.")
        await server.serve(sockets)
    finally:
        for task in beside:
            task.cancel()
        await host.stop()
        for listener in sockets:
            listener.close()
        if options.background is not None:
            remove_record(host.home)
    return 130 if stopped_by and stopped_by[0] == signal.SIGINT else 0


async def _rotate_log_regularly(home: Home) -> None:
    while True:
        await asyncio.sleep(CHECK_SEC)
        await asyncio.to_thread(rotate_log, home)


class _Server(uvicorn.Server):
    """uvicorn's server, without its handling of signals, which would cut short the stop of the host."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _report_startup(task: asyncio.Task[Instance], say: Callable[[str], None]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        say(f"{task.result().identifier} is loaded.")
    elif isinstance(error, StudioloError):
        say(f"No model is loaded yet. {error}")
    else:
        say(f"No model is loaded yet: {type(error).__name__}: {error}")


async def _listen(host: str, port: int) -> socket.socket:
    try:
        return _bind(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise PortInUseError(f"{host}:{port} cannot be listened on", cause=error.strerror or str(error)) from None
    if await is_server(f"{LOOPBACK if host == '0.0.0.0' else host}:{port}"):
        raise PortInUseError(
            f"A server already runs at {host}:{port}",
            suggestion="Use that one, stop it first, or choose another port with --port.",
        )
    raise PortInUseError(
        f"The port {port} of {host} is taken by another program", suggestion="Choose another with --port."
    )


def _listen_for_sdk(sockets: list[socket.socket], port: int) -> int | None:
    """Listen on the first free port among those where LM Studio's clients look, and return it."""
    for candidate in SDK_PORTS:
        if candidate == port:
            return port
        with contextlib.suppress(OSError):
            sockets.append(_bind(LOOPBACK, candidate))
            return candidate
    return None


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        allow_restart(listener)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
