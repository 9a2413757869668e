"""A host in this process, reached by direct calls of the functions that the WebSocket dialect calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...errors import ConfigError, HostError, rejected
from ...merging_queue import MergingQueue
from ...paths import Home
from ...platform.fork import after_fork_in_child
from ...protocol.declarations import Channel, Rpc
from .. import background
from .base import ClientChannel, merge_messages

if TYPE_CHECKING:
    from ...host.host import Host

P = TypeVar("P")
R = TypeVar("R")

_hosts: dict[Path, Host] = {}  # one a home; touched on the background loop alone
_inherited: list[object] = []
"""The parent's hosts after a fork: kept from the garbage collector, which would stop their engines."""


def _forget_hosts() -> None:
    _inherited.append(dict(_hosts))
    _hosts.clear()


after_fork_in_child(_forget_hosts)


def _host() -> Host:
    """Return the host of the current ``STUDIOLO_HOME``; it is stopped when the program ends."""
    from ...host.host import Host

    if not _hosts:
        background.at_close(close_hosts)
    home = Home.default()
    if home.root not in _hosts:
        _hosts[home.root] = Host(home)
    return _hosts[home.root]


async def close_hosts() -> None:
    """Stop every host of this process. On the background loop."""
    hosts = list(_hosts.values())
    _hosts.clear()
    await asyncio.gather(*(host.stop() for host in hosts))


class EmbeddedTransport:
    """The transport to the host in this process. Usable from any event loop."""

    address = "embedded"

    async def call(
        self,
        namespace: str,
        endpoint: Rpc[P, R],
        parameter: P,
        limit_sec: float | None,
        time_limit_sec: float | None = None,
    ) -> R:
        """See :meth:`.base.Transport.call`."""

        async def work() -> R:
            from ...dialects.lmstudio.context import Context
            from ...dialects.lmstudio.dispatch import find_rpc

            try:
                _, function = find_rpc(namespace, endpoint.name)
                return await function(Context(_host(), namespace), parameter)
            except ConfigError as error:
                raise rejected(error) from None
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise  # the caller's own cancellation
                raise HostError(f"The host cancelled {namespace}/{endpoint.name}") from None

        return await background.run_from_anywhere(work())

    async def open(
        self, namespace: str, endpoint: Channel[P, R], parameter: P, limit_sec: float | None
    ) -> ClientChannel[R]:
        """See :meth:`.base.Transport.open`."""
        return EmbeddedChannel(namespace, endpoint, parameter)

    async def close(self) -> None:
        """Do nothing: models stay loaded until they are unloaded, their TTL expires, or the program ends."""


class EmbeddedChannel(Generic[R]):
    """A channel whose two ends may live on two event loops of this process."""

    def __init__(self, namespace: str, endpoint: Channel[Any, R], parameter: Any) -> None:
        self._consumer = asyncio.get_running_loop()
        self._queue: MergingQueue[R] = MergingQueue(merge_messages)
        self._cancel_asked = False
        self._cancel: Callable[[], None] | None = None
        self._work = asyncio.run_coroutine_threadsafe(self._serve(namespace, endpoint, parameter), background.loop())

    async def receive(self, limit_sec: float | None) -> list[R]:
        """See :meth:`.base.ClientChannel.receive`."""
        return await self._queue.get_all()

    def receive_blocking(self, limit_sec: float | None) -> list[R]:
        """See :meth:`.base.ClientChannel.receive_blocking`."""
        return self._queue.get_all_blocking(None)

    def fail(self, error: Exception) -> None:
        """See :meth:`.base.ClientChannel.fail`."""
        self._queue.close(error)

    def cancel(self) -> None:
        """See :meth:`.base.ClientChannel.cancel`."""
        self._cancel_asked = True
        background.loop().call_soon_threadsafe(self._cancel_now)

    async def close(self) -> None:
        """See :meth:`.base.ClientChannel.close`."""
        self._queue.close()
        self._work.cancel()
        await asyncio.wait([asyncio.wrap_future(self._work)])  # raises only this task's own cancellation

    def _cancel_now(self) -> None:
        if self._cancel is not None:
            self._cancel()

    async def _serve(self, namespace: str, endpoint: Channel[Any, R], parameter: Any) -> None:
        """Run the endpoint's function. On the background loop."""
        from ...dialects.lmstudio.context import Context, ServerChannel
        from ...dialects.lmstudio.dispatch import find_channel

        async def send(message: R) -> None:
            if self._consumer.is_closed():
                raise asyncio.CancelledError  # the consumer is gone
            self._deliver(self._queue.put, message)

        try:
            _, function = find_channel(namespace, endpoint.name)
            channel: ServerChannel[R] = ServerChannel(send)
            work = asyncio.ensure_future(function(Context(_host(), namespace), parameter, channel))

            def cancel() -> None:
                if channel.on_cancel is not None:
                    channel.on_cancel()
                else:
                    work.cancel()

            self._cancel = cancel
            if self._cancel_asked:
                await asyncio.sleep(0)  # let the function set on_cancel first
                cancel()
            try:
                await work
            finally:
                if not work.done():
                    work.cancel()
                    await asyncio.wait([work])
        except asyncio.CancelledError:
            self._deliver(self._queue.close)
        except ConfigError as error:
            self._deliver(self._queue.close, rejected(error))
        except Exception as error:
            self._deliver(self._queue.close, error)
        else:
            self._deliver(self._queue.close)

    def _deliver(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._consumer is background.loop():
            function(*arguments)
        else:
            with contextlib.suppress(RuntimeError):  # the consumer's event loop is closed
                self._consumer.call_soon_threadsafe(function, *arguments)
