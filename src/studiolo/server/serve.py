"""The server process: its sockets, its start and its stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable

import uvicorn

from .._version import __version__
from ..dialects import dialects
from ..dialects.base import Serving
from ..errors import StudioloError
from ..host.host import Host
from ..host.instance import Instance
from ..host.load_progress import LoadWatcher, OnFetch
from ..paths import Home
from ..platform import event_loop
from ..platform.limits import raise_open_files
from ..store.store import open_store
from .access import guarded
from .app import create_app
from .daemon import follow_stop_requests
from .daemon_log import CHECK_SEC, rotate_log
from .daemon_record import remove_record, write_record
from .gathered_writes import gathering_protocol
from .listeners import listen, listen_for_sdk
from .pages.gate import PageGate
from .quiet_server import QuietServer
from .serve_options import ServeOptions, listening
from .stop_signals import REPEAT_SEC, StopSignals
from .token_file import ApiTokenFile

DRAIN_LIMIT_SEC = 5
"""Seconds that connections get to end once the server stops."""


PING_INTERVAL_SEC = 30.0
PING_LIMIT_SEC = 150.0
"""A client that answers no ping for this long counts as gone. It is long enough for one that is only busy: in a
debugger, or with a long calculation on its event loop."""

OPEN_FILES = 65536
"""The limit of open files: every idle client holds one."""

GARBAGE_THRESHOLDS = (10_000, 20, 50)
"""A token makes some twenty objects, none of them in a cycle. With Python's own thresholds, collections take a sixth of
the time of merged streams."""


def serve(options: ServeOptions, say: Callable[[str], None], on_fetch: OnFetch, *, in_background: bool = False) -> int:
    """Serve until a signal or a command asks the server to stop.

    Parameters:
        say: called with messages for the person at the terminal.
        on_fetch: called with the progress of the first model's download, if one is downloaded.
        in_background: whether this is the server in the background, which records itself.

    Returns:
        The exit status: 0, or 130 after an interrupt.

    Raises:
        PortInUseError: another program listens at the address.
        ConfigError: the options, the settings or the token file are wrong.
    """
    raise_open_files(OPEN_FILES)
    return event_loop.run(_serve(options, say, on_fetch, in_background))


async def _serve(options: ServeOptions, say: Callable[[str], None], on_fetch: OnFetch, in_background: bool) -> int:
    host = Host()
    try:
        at = listening(options, host.settings.current().server)
        tokens = None if at.token_file is None else ApiTokenFile(at.token_file)
        store = open_store(host.home, host.settings.current().store)
        sockets = await listen(at.host, at.port)
    except BaseException:
        await host.stop()
        raise
    port = sockets[0].getsockname()[1]
    # LM Studio's SDKs look for a server without TLS.
    sdk_port = listen_for_sdk(sockets, port) if options.sdk_port is not False and at.certificate is None else None
    spoken = dialects()
    serving = Serving(host, in_background, tokens, store)
    pages = PageGate(serving, spoken["lmstudio"], create_app, at.url(port), tokens)
    server = QuietServer(
        uvicorn.Config(
            guarded(create_app(serving, spoken, pages), at.rules),
            http=gathering_protocol(),
            ssl_certfile=at.certificate and at.certificate[0],
            ssl_keyfile=at.certificate and at.certificate[1],
            lifespan="off",
            log_level="warning",
            access_log=False,
            ws_max_size=max((dialect.max_message_bytes for dialect in spoken.values()), default=0),
            ws_per_message_deflate=False,  # frames of a token do not get smaller
            ws_ping_interval=PING_INTERVAL_SEC,
            ws_ping_timeout=PING_LIMIT_SEC,
            timeout_graceful_shutdown=DRAIN_LIMIT_SEC,
        )
    )
    signals = StopSignals()
    beside: list[asyncio.Task[None]] = []

    def stop(number: signal.Signals) -> None:
        match signals.take(number):
            case "drain":
                beside.append(asyncio.create_task(drain(), name="drain"))
            case "at once":
                server.force_exit = server.should_exit = True
            case "repeated":
                pass

    async def drain() -> None:
        for listener in getattr(server, "servers", []):
            listener.close()
        running = host.requests_under_way()
        limit = host.settings.current().server.drain_limit_sec
        if running:
            say(
                f"stopping: up to {limit:g} s for the requests under way ({running}). "
                f"Another signal, {REPEAT_SEC:g} s from now or later, stops at once."
            )
        await host.drain(limit)
        server.should_exit = True

    event_loop.on_stop_signal(stop)
    try:
        host.review.begin()
        startup: asyncio.Task[Instance] | None = None
        if options.load is not False:
            startup = host.load_at_startup(options.model, LoadWatcher(on_fetch=on_fetch))
            startup.add_done_callback(lambda task: _report_startup(task, say))
        if in_background:
            write_record(host.home, at.url(port).removeprefix("http://"), options.command_line())
            beside.append(asyncio.create_task(_rotate_log_regularly(host.home), name="rotate the log"))
            beside.append(asyncio.create_task(follow_stop_requests(host.home, stop), name="stop requests"))
        sdk = f"; LM Studio's SDKs find it at port {sdk_port}" if sdk_port else ""
        say(f"version {__version__} serves at {at.url(port)}{sdk}")
        if tokens is not None:
            say(f"clients need an API token of {tokens.path}.")
        elif not at.is_loopback:
            say("Anyone who reaches this address can use it: no API token is required.")
        collect_garbage_rarely()
        await server.serve(sockets)
    finally:
        for task in beside:
            task.cancel()
        await pages.stop()
        await host.stop()
        await store.close()
        for listener in sockets:
            listener.close()
        if in_background:
            remove_record(host.home)
    return 130 if signals.first == signal.SIGINT else 0


def collect_garbage_rarely() -> None:
    """Set the garbage collection of a server: what exists by now is not looked at again, and cycles are rare."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


async def _rotate_log_regularly(home: Home) -> None:
    while True:
        await asyncio.sleep(CHECK_SEC)
        await asyncio.to_thread(rotate_log, home)


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
