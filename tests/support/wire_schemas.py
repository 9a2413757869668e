"""Judge what a server sends by the schemas that the official TypeScript client holds, in both of its versions.

The client drops what does not fit, and the call that waits for it never ends.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from tests.support.recording.wire_recorder import recording_file
from tests.support.typescript_clients import VERSIONS, schemas

OURS = "studiolo."
"""The prefix of endpoints and message types that only studiolo's own SDK requests."""

HEARTBEAT = "studioloHeartbeat"
"""The frame that only studiolo's own SDK requests."""

LATER: dict[str, str] = {
    "1.5.0 diagnostics/streamLogs: log.log.data: {'type': *": "kinds of events that are sent to later clients alone",
    "1.5.0 llm/predict: llm.prediction.tools.*additionalProperties: *": "sent back to a client that has asked so",
    "?.?.? llm/predict: llm.prediction.topKSampling: *maximum of 500": "the same; the official ones ask for no more",
}
"""What one of the official clients would drop, and why it is never sent there."""

DISCRIMINATORS = (["type"], ["code"])


class WireSchemas:
    """The schemas of one version."""

    def __init__(self, version: str, dumped: dict[str, Any]) -> None:
        self.version = version
        self._dumped = dumped

    @functools.cached_property
    def _frame(self) -> Draft7Validator:
        return Draft7Validator(self._dumped["frame"])

    @functools.cached_property
    def _display_data(self) -> Draft7Validator:
        return Draft7Validator(self._dumped["displayData"])

    def knows(self, of: str) -> bool:
        """Whether this version has the endpoint."""
        return of in self._dumped["rpcs"] or of in self._dumped["channels"]

    def faults(self, of: str, frame: dict[str, Any]) -> Iterator[str]:
        """Yield what this version finds wrong in a frame that answers the endpoint ``of``."""
        yield from _faults(self._frame, frame, "frame")
        display_data = frame.get("error", {}).get("displayData")
        if display_data is not None and not _is_no_query(display_data):
            yield from _faults(self._display_data, display_data, "displayData")
        if frame["type"] == "rpcResult" and of in self._dumped["rpcs"]:
            yield from self._result_faults(of, frame)
        elif frame["type"] == "channelSend" and of in self._dumped["channels"]:
            message = frame.get("message")
            yield from _faults(self._channel(of), message, str(message.get("type")) if message else "message")
        if frame["type"] in ("rpcResult", "channelSend"):
            yield from self._setting_faults(frame)

    def _result_faults(self, of: str, frame: dict[str, Any]) -> Iterator[str]:
        endpoint = self._dumped["rpcs"][of]
        if "result" not in frame:
            if not endpoint["mayBeAbsent"]:
                yield "result: absent"
            return
        result = frame["result"]
        if endpoint["serialization"] == "superjson":
            result = result["json"]
        yield from _faults(self._rpc(of), result, "result")

    def _setting_faults(self, value: Any) -> Iterator[str]:
        """Judge the settings in each KvConfig below ``value``: ``{"fields": [{"key": ..., "value": ...}]}``."""
        if isinstance(value, list):
            yield from chain.from_iterable(map(self._setting_faults, value))
        elif isinstance(value, dict):
            for setting in value.get("fields", []) if set(value) == {"fields"} else []:
                if setting["key"] in self._dumped["settings"]:  # the client ignores others
                    yield from _faults(self._setting(setting["key"]), setting.get("value"), setting["key"])
            yield from chain.from_iterable(map(self._setting_faults, value.values()))

    @functools.cache  # noqa: B019 (there are two of these objects, for as long as the run)
    def _rpc(self, of: str) -> Draft7Validator:
        return Draft7Validator(self._dumped["rpcs"][of]["schema"])

    @functools.cache  # noqa: B019
    def _setting(self, key: str) -> Draft7Validator:
        return Draft7Validator(self._dumped["settings"][key])

    @functools.cache  # noqa: B019
    def _channel(self, of: str) -> Draft7Validator:
        return Draft7Validator(self._dumped["channels"][of]["schema"])


def _is_no_query(display_data: dict[str, Any]) -> bool:
    """Whether an error says that a model was not found elsewhere than among the loaded ones, on disk or on the hub.

    The Python client makes its class of the code. This client drops the code, which is about loaded models, and shows
    the title, as it should.
    """
    return display_data["code"] == "generic.noModelMatchingQuery" and "query" not in display_data


def _faults(validator: Draft7Validator, value: Any, name: str) -> Iterator[str]:
    for error in chain.from_iterable(map(_narrowed, validator.iter_errors(value))):
        path = ".".join("*" if isinstance(part, int) else str(part) for part in error.absolute_path)
        yield f"{name}{'.' if path else ''}{path}: {error.message[:200]}"


def _narrowed(error: ValidationError) -> Iterator[ValidationError]:
    """What is wrong in the alternative that a value stands for by its ``type`` or ``code``, where it names one."""
    if error.validator != "anyOf":
        yield error
        return
    for _, branch in groupby(error.context or (), key=lambda inner: inner.schema_path[0]):
        faults = list(branch)
        if not any(fault.validator == "const" and list(fault.path) in DISCRIMINATORS for fault in faults):
            yield from chain.from_iterable(map(_narrowed, faults))
            return
    yield error


@functools.cache
def wire_schemas(cache: Path) -> list[WireSchemas]:
    """The schemas of both versions; the packages are installed below ``cache``."""
    return [WireSchemas(version, schemas(version, cache)) for version in VERSIONS]


def judge(lines: Iterable[str], judges: list[WireSchemas]) -> list[str]:
    """What is wrong in recorded lines, in words, each thing once."""
    found: dict[str, str] = {}
    for line in lines:
        recorded = json.loads(line)
        of, frame = recorded["of"], recorded["frame"]
        if frame["type"] in ("rpcResult", "channelSend") and not any(judge.knows(of) for judge in judges):
            if not of.partition("/")[2].startswith(OURS):
                found.setdefault(f"{of}: no official client knows it, nor is it named as studiolo's own", line)
            continue
        if frame["type"] == HEARTBEAT or str((frame.get("message") or {}).get("type")).startswith(OURS):
            continue  # studiolo's own, sent to clients that ask for it alone
        for judge in judges:
            for fault in judge.faults(of, frame):
                where = f"{judge.version} {of}: {fault}"
                if not any(fnmatch(where, pattern) for pattern in LATER):
                    found.setdefault(where, line)
    return [f"{fault}\n    {line.strip()[:500]}" for fault, line in found.items()]


class Recording:
    """The file that this run's processes write what they send to."""

    def __init__(self) -> None:
        self._path = Path(recording_file())
        self._read = 0

    def new_lines(self) -> list[str]:
        """What has been written since the last call."""
        if not self._path.exists():
            return []
        with self._path.open() as file:
            file.seek(self._read)
            lines = file.readlines()
            self._read = file.tell()
        return lines
