"""Record what studiolo sends to its clients, in every process of a test run, so that the tests can check it.

A line of the file that ``STUDIOLO_TEST_WIRE`` names is ``{"of": "namespace/endpoint", "frame": {...}}``. Of frames
that differ in free text and in figures alone, a process writes one.

It stands by itself, because its folder is put into the path of every program: it imports studiolo's modules when the
program itself does. Every process of a run imports this module at its start, thousands in all, and few send a frame:
what is imported here is what an interpreter has imported already; anything else is imported where it is used.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as of typing, which would be an import
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType
    from typing import Any

VARIABLE = "STUDIOLO_TEST_WIRE"
FREE_TEXT = {"content", "text", "title", "rootTitle", "cause", "formatted", "input", "output", "stack", "warning"}
"""Fields whose strings are data. Any other string is kept apart: it may be one of a few that a client knows."""
NUMBERS = {"callId", "channelId", "ackId"}

_seen: set[tuple[str, Any]] = set()


def install() -> None:
    """Record from now on, where the environment asks for it."""
    if VARIABLE in os.environ:
        for module in _PATCHES:
            if module in sys.modules:
                _PATCHES[module](sys.modules[module])
        sys.meta_path.insert(0, _Finder())


def recording_file() -> str:
    return os.environ[VARIABLE]


def record(of: str, frame: dict[str, Any]) -> None:
    """Write a frame that was sent, unless one like it was, or a test has taken the variable away."""
    if VARIABLE not in os.environ:
        return
    import json

    key = (of, shape_of(frame))
    if key not in _seen:
        _seen.add(key)
        line = json.dumps({"of": of, "frame": frame}).encode() + b"\n"
        file = os.open(recording_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line)
        finally:
            os.close(file)


def shape_of(value: Any, field: str = "") -> Any:
    """What frames have in common that one schema judges alike."""
    match value:
        case dict():
            fields = ((name, item) for name, item in sorted(value.items()) if name not in NUMBERS)
            return tuple((name, shape_of(item, name)) for name, item in fields)
        case list():
            return frozenset(shape_of(item, field) for item in value)
        case str():
            return "text" if field in FREE_TEXT or len(value) > 64 else ("text", value)
        case bool() | None:
            return value
        case int() | float():
            return type(value).__name__, value < 0
    raise TypeError(f"{value!r} is no JSON")


class _Finder:
    """Patches the modules of ``_PATCHES`` after they have been imported."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name not in _PATCHES:
            return None
        import importlib.util

        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            _PATCHES[name](module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def _patch_sockets(module: Any) -> None:
    """Record the frames that a socket of the server sends, by the endpoints of the frames that it received."""
    import functools
    import json

    connection = module.Connection
    start = connection.__init__

    @functools.wraps(start)
    def recorded(self: Any, context: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[str], Any]) -> None:
        calls: dict[int, str] = {}
        channels: dict[int, str] = {}

        async def received() -> Any:
            frame = await receive()
            match _read(frame):
                case {"type": "rpcCall", "callId": int(number), "endpoint": str(endpoint)}:
                    calls[number] = endpoint
                case {"type": "channelCreate", "channelId": int(number), "endpoint": str(endpoint)}:
                    channels[number] = endpoint
            return frame

        async def sent(text: str) -> None:
            frame = json.loads(text)
            match frame:
                case {"callId": int(number)}:
                    endpoint = calls.get(number, "")
                case {"channelId": int(number)}:
                    endpoint = channels.get(number, "")
                case _:
                    endpoint = ""
            if "type" in frame:  # the answer to a handshake has none
                record(f"{context.namespace}/{endpoint}", frame)
            await send(text)

        start(self, context, received, sent)

    connection.__init__ = recorded


def _read(frame: Any) -> Any:
    import json

    try:
        return json.loads(frame)
    except (TypeError, ValueError, RecursionError):
        return None


def _patch_embedded(module: Any) -> None:
    """Record what the embedded transport returns, as a socket would have carried it."""
    import json

    transport, channel = module.EmbeddedTransport, module.EmbeddedChannel
    call, start, drain, drain_blocking = (
        transport.call,
        channel.__init__,
        channel.receive,
        channel.receive_blocking,
    )

    def write(of: str, kind: str, **fields: Any) -> None:
        from studiolo.protocol import frames

        record(of, json.loads(frames.encode(getattr(frames, kind)(**fields))))

    async def recorded_call(self: Any, namespace: str, endpoint: Any, parameter: Any, *limits: float | None) -> Any:
        result = await call(self, namespace, endpoint, parameter, *limits)
        write(f"{namespace}/{endpoint.name}", "RpcResult", call_id=0, result=result)
        return result

    def recorded_start(self: Any, namespace: str, endpoint: Any, parameter: Any) -> None:
        self.recorded_as = f"{namespace}/{endpoint.name}"
        start(self, namespace, endpoint, parameter)

    def written(self: Any, messages: list[Any]) -> list[Any]:
        for message in messages:
            write(self.recorded_as, "ChannelSend", channel_id=0, message=message)
        return messages

    async def recorded_drain(self: Any, limit_sec: float | None) -> list[Any]:
        return written(self, await drain(self, limit_sec))

    def recorded_drain_blocking(self: Any, limit_sec: float | None) -> list[Any]:
        return written(self, drain_blocking(self, limit_sec))

    transport.call = recorded_call
    channel.__init__ = recorded_start
    channel.receive, channel.receive_blocking = recorded_drain, recorded_drain_blocking


_PATCHES: dict[str, Callable[[Any], None]] = {
    "studiolo.dialects.lmstudio.connection": _patch_sockets,
    "studiolo.sdk.transports.embedded": _patch_embedded,
}
