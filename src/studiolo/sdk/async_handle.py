"""A handle of a loaded model in the async API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, overload

from ..config import LoadConfig
from ..deadline import Deadline
from ..protocol import models as wire
from ..protocol.declarations import Rpc
from ..protocol.kv import decode_load_config, flatten, stack_of
from ..protocol.load_plan import GET_LOAD_SETTINGS, SettingInForce
from .arguments import is_one_text, text, texts, validated
from .gather import gather
from .process_bound import ProcessBound
from .session import Session
from .timeouts import Timeout, deadline_of

P = TypeVar("P")
R = TypeVar("R")


class AsyncModelHandle(ProcessBound):
    """A loaded model, by the identifier of its instance. Handles of one instance are equal."""

    def __init__(self, identifier: str, session: Session, namespace: wire.Domain) -> None:
        self.identifier = identifier
        self._session = session
        self._namespace: wire.Domain = namespace

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identifier={self.identifier!r})"

    def _key(self) -> tuple[object, ...]:
        return self._session, self._namespace, self.identifier

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, AsyncModelHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def _specifier(self) -> wire.ModelSpecifier:
        return wire.specify(self.identifier)

    async def unload(self, *, timeout: Timeout = None) -> None:
        """Unload the model. Its predictions end with the stop reason ``modelUnloaded``.

        Parameters:
            timeout: the time limit of the call in seconds, as of every call: after it, :class:`TimeLimitError` is
                raised. Default: none.
        """
        parameter = wire.UnloadModelParameter(self.identifier)
        await self._call(wire.UNLOAD_MODEL, parameter, deadline_of(timeout, "unload()"))

    async def get_info(self, *, timeout: Timeout = None) -> wire.ModelInstanceInfo:
        """Return the loaded model's metadata. Raise :class:`ModelNotFoundError` if it is no longer loaded.

        Parameters:
            timeout: as for :meth:`unload`.
        """
        parameter = wire.GetModelInfoParameter(self._specifier, True)
        info = await self._call(wire.GET_MODEL_INFO, parameter, deadline_of(timeout, "get_info()"))
        assert info is not None
        return info

    async def get_load_config(self, *, timeout: Timeout = None) -> LoadConfig:
        """Return the settings that the model was loaded with, including defaults.

        Parameters:
            timeout: as for :meth:`unload`.
        """
        parameter = wire.SpecifierParameter(self._specifier)
        config = await self._call(wire.GET_LOAD_CONFIG, parameter, deadline_of(timeout, "get_load_config()"))
        return decode_load_config(flatten(stack_of(config)), self._namespace)

    async def get_load_settings(self, *, timeout: Timeout = None) -> list[SettingInForce]:
        """Return the load settings in force, each with where it comes from. An addition of studiolo's.

        Parameters:
            timeout: as for :meth:`unload`.
        """
        parameter = wire.SpecifierParameter(self._specifier)
        return await self._call(GET_LOAD_SETTINGS, parameter, deadline_of(timeout, "get_load_settings()"))

    async def get_context_length(self, *, timeout: Timeout = None) -> int:
        """Return how many tokens one prediction can hold, prompt and answer together.

        Parameters:
            timeout: as for :meth:`unload`.
        """
        return (await self.get_info(timeout=deadline_of(timeout, "get_context_length()"))).context_length

    @overload
    async def tokenize(self, input: str, *, timeout: Timeout = None) -> list[int]: ...
    @overload
    async def tokenize(self, input: Iterable[str], *, timeout: Timeout = None) -> list[list[int]]: ...
    async def tokenize(self, input: str | Iterable[str], *, timeout: Timeout = None) -> list[int] | list[list[int]]:
        """Return the tokens of a text, or of each of several texts. Raise :class:`ConfigError` for what is no text.

        Parameters:
            input: a text, or any number of texts.
            timeout: the time limit of the whole in seconds, as for :meth:`unload`.
        """
        deadline = deadline_of(timeout, "tokenize()")

        async def tokenize_one(one: str) -> list[int]:
            return (await self._call(wire.TOKENIZE, wire.TextParameter(self._specifier, one), deadline)).tokens

        if is_one_text(input):
            return await tokenize_one(text(input, "input"))
        return await gather(tokenize_one, texts(input, "input"))

    async def count_tokens(self, input: str, *, timeout: Timeout = None) -> int:
        """Return the number of tokens of ``input``. Raise :class:`ConfigError` for what is no text.

        Parameters:
            timeout: as for :meth:`unload`.
        """
        parameter = wire.TextParameter(self._specifier, text(input, "input"))
        return (await self._call(wire.COUNT_TOKENS, parameter, deadline_of(timeout, "count_tokens()"))).token_count

    async def _call(self, endpoint: Rpc[P, R], parameter: P, deadline: Deadline) -> R:
        return await self._session.call(self._namespace, endpoint, validated(parameter), deadline)
