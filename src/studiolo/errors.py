"""The tree of errors.

Every error that studiolo raises on purpose is a :class:`StudioloError`: a *title* that says what is wrong and where, an
optional *cause*, and an optional *suggestion*: a command to run or an edit to make. Each class has a *code*, by which
an error on the wire becomes an instance of the same class at the client, and an *HTTP status*.

Longer than 400 lines because the tree is one list of classes.

The tree has the shape of the official LM Studio client's, so that an ``except`` clause written for that client catches
the same errors here. That client's names are aliases at the end of this module.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from ._version import __version__

_BY_CODE: dict[str, type[StudioloError]] = {}


class StudioloError(Exception):
    """The root of the tree.

    Parameters:
        title: what is wrong, with the name of the model, field or file concerned.
        cause: the cause, if known.
        suggestion: what the user can do about it.
        data: JSON-compatible details for programs.
    """

    code: ClassVar[str] = "studiolo.error"
    http_status: ClassVar[int] = 500

    def __init_subclass__(cls) -> None:
        _BY_CODE[cls.code] = cls

    def __init__(
        self,
        title: str,
        *,
        cause: str | None = None,
        suggestion: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(title)
        self.title = title
        self.cause = cause
        self.suggestion = suggestion
        self.data = data or {}

    def __str__(self) -> str:
        return " ".join(_sentence(part) for part in (self.title, self.cause, self.suggestion) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.title, self.cause, self.suggestion, self.data))


def _rebuild(
    cls: type[StudioloError], title: str, cause: str | None, suggestion: str | None, data: dict[str, Any]
) -> StudioloError:
    return cls(title, cause=cause, suggestion=suggestion, data=data)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", ":", "\n")) else f"{text}."


def error_class(code: str) -> type[HostError]:
    """Return the class of the host's errors with this code; :class:`HostError` if there is none."""
    known = _BY_CODE.get(code, HostError)
    return known if issubclass(known, HostError) else HostError


def rejected(error: ConfigError) -> RejectedConfigError:
    """Return a :class:`ConfigError` of the host as the :class:`HostError` that its client receives."""
    return RejectedConfigError(error.title, cause=error.cause, suggestion=error.suggestion, data=error.data)


class HostError(StudioloError):
    """Reported by the host that runs the models, embedded or behind a server."""

    code = "studiolo.host"


class ModelNotFoundError(HostError):
    """No model, downloaded or loaded, has the given name."""

    code = "generic.noModelMatchingQuery"
    http_status = 404


class PathNotFoundError(ModelNotFoundError):
    """No model on disk has the given key or path."""

    code = "generic.pathNotFound"


class IdentifierNotFoundError(ModelNotFoundError):
    """No loaded instance has the given identifier."""

    code = "generic.identifierNotFound"


class DraftModelNotFoundError(ModelNotFoundError):
    """The draft model of a request does not exist."""

    code = "studiolo.draftModelNotFound"


class NotDownloadableError(ModelNotFoundError):
    """Nothing can be downloaded under the given name."""

    code = "studiolo.notDownloadable"


class PresetNotFoundError(HostError):
    """No preset has the given name."""

    code = "generic.presetNotFound"
    http_status = 404


class ModelUnloadedError(HostError):
    """The requested instance is no longer loaded."""

    code = "generic.specificModelUnloaded"
    http_status = 404


class DomainMismatchError(HostError):
    """An embedding model was used as an LLM, or an LLM as an embedding model."""

    code = "generic.domainMismatch"
    http_status = 400


class UnsupportedError(HostError):
    """The request asks for something that this engine, model or version does not support.

    Parameters:
        feature: the setting, endpoint or kind of input that is not supported.
        engine: the name of the engine that does not support it; by default studiolo itself.
        engine_version: the engine's version.
        data: further details; those that LM Studio's clients expect are added.
    """

    code = "generic.engineDoesNotSupportFeature"
    http_status = 400

    def __init__(
        self,
        title: str,
        *,
        feature: str = "",
        engine: str = "studiolo",
        engine_version: str = __version__,
        cause: str | None = None,
        suggestion: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        expected = {
            "feature": feature,
            "engineName": engine,
            "engineType": engine,
            "installedVersion": engine_version,
            "supportedVersion": None,
        }
        super().__init__(title, cause=cause, suggestion=suggestion, data={**expected, **(data or {})})

    def by_engine(self, name: str, version: str) -> Self:
        """Return this error with the name and version of the engine, for code that raises it without knowing them."""
        self.data |= {"engineName": name, "engineType": name, "installedVersion": version}
        return self


class ModelFileError(HostError):
    """A model's file cannot be used: not GGUF, truncated, unreadable or missing."""

    code = "studiolo.modelFile"


class FilesError(HostError):
    """A client's file cannot be used: unknown, too large, damaged, or of an unsupported kind."""

    code = "studiolo.files"
    http_status = 400


class LibraryFileError(HostError):
    """A file could not be added to the library, or removed from it."""

    code = "studiolo.libraryFile"
    http_status = 409


class DownloadError(HostError):
    """A model could not be downloaded."""

    code = "studiolo.download"
    http_status = 502


class LoadMismatchError(HostError):
    """The model is loaded already, with other settings than those asked for, and ``on_mismatch`` is ``"error"``."""

    code = "studiolo.loadMismatch"
    http_status = 409


class NotEnoughMemoryError(HostError):
    """A load needs more memory than the guardrail allows; the message includes the figures."""

    code = "studiolo.notEnoughMemory"
    http_status = 503


class EngineError(HostError):
    """The engine process failed."""

    code = "studiolo.engine"


class EngineStartError(EngineError):
    """The engine process did not start and load the model."""

    code = "studiolo.engineStart"


class EngineDiedError(EngineError):
    """The engine process ended while it was in use."""

    code = "studiolo.engineDied"


class QuarantinedError(EngineError):
    """The model's engine has crashed repeatedly, and is not restarted for some time."""

    code = "studiolo.quarantined"
    http_status = 503


class BusyError(HostError):
    """The instance's queue is full, or a prediction has waited longer than the limit."""

    code = "studiolo.busy"
    http_status = 503


class OverloadedError(HostError):
    """The server answers as many requests as it may at once."""

    code = "studiolo.overloaded"
    http_status = 503


class SlowClientError(HostError):
    """The client of a request stopped sending it."""

    code = "studiolo.slowClient"
    http_status = 408


class StoppingError(HostError):
    """The host is stopping and accepts no requests."""

    code = "studiolo.stopping"
    http_status = 503


class PredictionError(HostError):
    """The engine rejected or failed a prediction."""

    code = "studiolo.prediction"


class ChatRejectedError(PredictionError):
    """The model's chat template has no place for a chat: for its roles, their order, or what a message holds."""

    code = "studiolo.chatRejected"
    http_status = 400


class PromptTooLongError(PredictionError):
    """The prompt has more tokens than the context of the loaded model."""

    code = "studiolo.promptTooLong"
    http_status = 400


class ProtocolError(HostError):
    """A frame, an endpoint or a parameter violates the protocol."""

    code = "studiolo.protocol"
    http_status = 400


class InvalidRequestError(HostError):
    """A request over HTTP is malformed, or asks for what is not supported; ``data["param"]`` is the field's path."""

    code = "studiolo.invalidRequest"
    http_status = 400


class NoSuchRouteError(HostError):
    """The server has no such path."""

    code = "studiolo.noSuchRoute"
    http_status = 404


class WrongMethodError(HostError):
    """The path does not take the HTTP method."""

    code = "studiolo.wrongMethod"
    http_status = 405


class StoreError(HostError):
    """The store of responses and chats cannot be read or written."""

    code = "studiolo.store"
    http_status = 503


class StoredItemNotFoundError(HostError):
    """Nothing is stored under the given id, for this API token."""

    code = "studiolo.storedItemNotFound"
    http_status = 404


class AuthenticationError(HostError):
    """Missing or invalid API token."""

    code = "studiolo.authentication"
    http_status = 401


class PortInUseError(HostError):
    """A port to listen on is in use."""

    code = "studiolo.portInUse"


class ChannelClosedError(HostError):
    """The host closed a channel before its final message."""

    code = "studiolo.channelClosed"
    http_status = 502


class ClientError(StudioloError):
    """An error of the client, not of the host."""

    code = "studiolo.client"
    http_status = 400


class CancelledError(ClientError):
    """A cancelled prediction has no result."""

    code = "studiolo.cancelled"
    http_status = 499


class ConnectionFailedError(ClientError):
    """The server cannot be reached, or the connection to it was lost."""

    code = "studiolo.connection"
    http_status = 502


class RequestTimeoutError(StudioloError, TimeoutError):
    """The host did not respond within the time limit."""

    code = "studiolo.timeout"
    http_status = 504


class TimeLimitError(HostError, RequestTimeoutError):
    """A call took longer than its ``timeout``; ``data["content"]`` is the text that a prediction had generated."""

    code = "studiolo.timeLimit"
    http_status = 504


class ConfigError(StudioloError, ValueError):
    """A setting has an unknown name, a wrong type, or a value out of range; the title names the field."""

    code = "studiolo.config"
    http_status = 400


class RejectedConfigError(HostError, ConfigError):
    """A :class:`ConfigError` that the host reports to its client."""

    code = "studiolo.config"


class LocalFileError(StudioloError, OSError):
    """A file on this machine cannot be read."""

    code = "studiolo.localFile"


class LocalFileNotFoundError(LocalFileError, FileNotFoundError):
    """A file does not exist on this machine."""

    code = "studiolo.localFileNotFound"
    http_status = 404


class UnknownMessageWarning(ClientError, UserWarning):
    """The official client's warning about unknown messages. studiolo's client logs them instead."""

    code = "studiolo.unknownMessage"


class LoadMismatchWarning(UserWarning):
    """The model is loaded already, with other settings than those asked for, and is kept."""


class NotPicklableError(StudioloError, TypeError):
    """An object belongs to this process and cannot be sent to another one."""

    code = "studiolo.notPicklable"
    http_status = 400


class UsageError(StudioloError, RuntimeError):
    """A call was made in the wrong order or state."""

    code = "studiolo.usage"
    http_status = 400


# The official client's names for the same errors.
LMStudioError = StudioloError
LMStudioServerError = HostError
LMStudioModelNotFoundError = ModelNotFoundError
LMStudioPresetNotFoundError = PresetNotFoundError
LMStudioPredictionError = PredictionError
LMStudioChannelClosedError = ChannelClosedError
LMStudioClientError = ClientError
LMStudioCancelledError = CancelledError
LMStudioWebsocketError = ConnectionFailedError
LMStudioTimeoutError = RequestTimeoutError
LMStudioOSError = LocalFileError
LMStudioFileNotFoundError = LocalFileNotFoundError
LMStudioUnknownMessageWarning = UnknownMessageWarning
LMStudioValueError = ConfigError
LMStudioRuntimeError = UsageError
