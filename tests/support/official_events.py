"""The events of the official clients' streams, to validate events of ours by: each is built when it is first used.

Built at import, they would take every process of a test run a second.
"""

from __future__ import annotations

from typing import Any

from anthropic.types import RawMessageStreamEvent
from anthropic.types.beta import BetaRawMessageStreamEvent
from openai.types.responses import ResponseStreamEvent
from pydantic import ConfigDict, TypeAdapter

_LATER = ConfigDict(defer_build=True)

MESSAGE_EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent, config=_LATER)
BETA_MESSAGE_EVENT: TypeAdapter[Any] = TypeAdapter(BetaRawMessageStreamEvent, config=_LATER)
PING = '{"type":"ping"}'
"""An event of Anthropic's streams that may come at any time."""

RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent, config=_LATER)
