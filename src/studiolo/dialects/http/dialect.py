"""A dialect whose routes are all endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar.types import ControllerRouterHandler

from ...errors import StudioloError
from ..base import ErrorAnswer, Serving
from .endpoint import Endpoint, handlers


@dataclass(frozen=True, kw_only=True)
class HttpDialect:
    """See :class:`studiolo.dialects.base.Dialect`.

    Parameters:
        to_answer: returns the response that reports an error with this HTTP status.
        answer_headers: returns headers for each answer.
    """

    prefixes: Sequence[str]
    endpoints: Sequence[Endpoint[Any]]
    to_answer: Callable[[StudioloError, int], ErrorAnswer]
    header: str | None = None
    shared_prefix: str = ""
    answer_headers: Callable[[], Mapping[str, str]] | None = None
    max_message_bytes: int = 0
    authenticates: bool = False

    def routes(self, serving: Serving) -> Sequence[ControllerRouterHandler]:
        """See :meth:`studiolo.dialects.base.Dialect.routes`."""
        return handlers(self.endpoints, serving, self.answer_headers)

    def error(self, error: StudioloError, status: int) -> ErrorAnswer:
        """See :meth:`studiolo.dialects.base.Dialect.error`."""
        return self.to_answer(error, status)
