"""A handle of a loaded model in the async API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, overload

from ..config import LoadConfig
from ..deadline import UNLIMITED, Deadline
from ..protocol import models as wire
from ..protocol.declarations import Rpc
from ..protocol.kv import decode_load_config, flatten, stack_of
from ..protocol.load_plan import GET_LOAD_SETTINGS, SettingInForce
from .arguments import is_one_text, text, texts, validated
from .gather import gather
from .process_bound import ProcessBound
from .session import Session

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

    async def unload(self) -> None:
        """Unload the model. Its predictions end with the stop reason ``modelUnloaded``."""
        await self._call(wire.UNLOAD_MODEL, wire.UnloadModelParameter(self.identifier))

    async def get_info(self) -> wire.ModelInstanceInfo:
        """Return the loaded model's metadata. Raise :class:`ModelNotFoundError` if it is no longer loaded."""
        info = await self._call(wire.GET_MODEL_INFO, wire.GetModelInfoParameter(self._specifier, True))
        assert info is not None
        return info

    async def get_load_config(self) -> LoadConfig:
        """Return the settings that the model was loaded with, including defaults."""
        config = await self._call(wire.GET_LOAD_CONFIG, wire.SpecifierParameter(self._specifier))
        return decode_load_config(flatten(stack_of(config)), self._namespace)

    async def get_load_settings(self) -> list[SettingInForce]:
        """Return the load settings in force, each with where it comes from. An addition of studiolo's."""
        return await self._call(GET_LOAD_SETTINGS, wire.SpecifierParameter(self._specifier))

    async def get_context_length(self) -> int:
        """Return how many tokens one prediction can hold, prompt and answer together."""
        return (await self.get_info()).context_length

    @overload
    async def tokenize(self, input: str) -> list[int]: ...
    @overload
    async def tokenize(self, input: Iterable[str]) -> list[list[int]]: ...
    async def tokenize(self, input: str | Iterable[str]) -> list[int] | list[list[int]]:
        """Return the tokens of a text, or of each of several texts. Raise :class:`ConfigError` for what is no text."""
        if is_one_text(input):
            return (await self._call(wire.TOKENIZE, wire.TextParameter(self._specifier, text(input, "input")))).tokens
        return await gather(self.tokenize, texts(input, "input"))

    async def count_tokens(self, input: str) -> int:
        """Return the number of tokens of ``input``. Raise :class:`ConfigError` for what is no text."""
        parameter = wire.TextParameter(self._specifier, text(input, "input"))
        return (await self._call(wire.COUNT_TOKENS, parameter)).token_count

    async def _call(self, endpoint: Rpc[P, R], parameter: P, deadline: Deadline = UNLIMITED) -> R:
        return await self._session.call(self._namespace, endpoint, validated(parameter), deadline)
