"""The tree of errors.

Every error that studiolo raises on purpose is a :class:`StudioloError`: a *title* that says what went wrong and
where, an optional *cause*, and an optional *suggestion* that says what to do about it. Each class has a *code*, which
is how an error crosses the wire and comes back as the same class on the other side, and an *HTTP status*.

The tree has the shape of the official LM Studio client's, so that an ``except`` written for that client means the
same here; the names of that client are aliases, at the end of this module.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from ._version import __version__

_BY_CODE: dict[str, type[StudioloError]] = {}


class StudioloError(Exception):
    """The root of the tree.

    Parameters:
        title: what went wrong, with the name of the thing that it happened to.
        cause: why, as far as it is known.
        suggestion: what the user can do about it.
        data: figures behind the message, JSON-compatible, for programs.
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
    """Return the class of the host's errors that carry ``code``; :class:`HostError` for a code that none has."""
    known = _BY_CODE.get(code, HostError)
    return known if issubclass(known, HostError) else HostError


def rejected(error: ConfigError) -> RejectedConfigError:
    """Return the host's ``error`` as its client is to see it: as a :class:`HostError`."""
    return RejectedConfigError(error.title, cause=error.cause, suggestion=error.suggestion, data=error.data)


class HostError(StudioloError):
    """Reported by the host that runs the models, embedded or behind a server."""

    code = "studiolo.host"


class ModelNotFoundError(HostError):
    """No model, downloaded or loaded, answers to the given name."""

    code = "generic.noModelMatchingQuery"
    http_status = 404


class PathNotFoundError(ModelNotFoundError):
    """No model on disk has the given key or path."""

    code = "generic.pathNotFound"


class IdentifierNotFoundError(ModelNotFoundError):
    """No loaded instance has the given identifier."""

    code = "generic.identifierNotFound"


class DraftModelNotFoundError(ModelNotFoundError):
    """The draft model that a request names is not there."""

    code = "studiolo.draftModelNotFound"


class NotDownloadableError(ModelNotFoundError):
    """Nothing can be downloaded under the given name."""

    code = "studiolo.notDownloadable"


class PresetNotFoundError(HostError):
    """No preset has the given name."""

    code = "generic.presetNotFound"
    http_status = 404


class ModelUnloadedError(HostError):
    """The instance that was asked for is no longer loaded."""

    code = "generic.specificModelUnloaded"
    http_status = 404


class DomainMismatchError(HostError):
    """An embedding model was used as an LLM, or the other way round."""

    code = "generic.domainMismatch"
    http_status = 400


class UnsupportedError(HostError):
    """The request asks for something that this engine, model or version does not do.

    Parameters:
        feature: the setting, endpoint or kind of input that is not supported.
        engine: the name of the engine that does not support it; by default studiolo itself.
        engine_version: the engine's version.
        data: further figures; those that LM Studio's clients expect are filled in.
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
        """Return this error as one of an engine, which did not know its own name where it was raised."""
        self.data |= {"engineName": name, "engineType": name, "installedVersion": version}
        return self


class ModelFileError(HostError):
    """A model's file cannot be used: not GGUF, truncated, unreadable or gone."""

    code = "studiolo.modelFile"


class FilesError(HostError):
    """A file that was given to the host cannot be used: unknown, too large, damaged, or of a wrong kind."""

    code = "studiolo.files"
    http_status = 400


class LibraryFileError(HostError):
    """A file could not be put into the library, or taken out of it."""

    code = "studiolo.libraryFile"
    http_status = 409


class DownloadError(HostError):
    """A model could not be fetched."""

    code = "studiolo.download"
    http_status = 502


class NotEnoughMemoryError(HostError):
    """A load needs more memory than the guardrail grants; the message has the figures."""

    code = "studiolo.notEnoughMemory"
    http_status = 503


class EngineError(HostError):
    """The engine process failed."""

    code = "studiolo.engine"


class EngineStartError(EngineError):
    """The engine process did not come up with the model loaded."""

    code = "studiolo.engineStart"


class EngineDiedError(EngineError):
    """The engine process ended while it was needed."""

    code = "studiolo.engineDied"


class QuarantinedError(EngineError):
    """The model's engine has crashed again and again, and is not started for a while."""

    code = "studiolo.quarantined"
    http_status = 503


class BusyError(HostError):
    """Too many predictions wait for the instance, or one has waited too long."""

    code = "studiolo.busy"
    http_status = 503


class StoppingError(HostError):
    """The host is stopping and takes no more predictions."""

    code = "studiolo.stopping"
    http_status = 503


class PredictionError(HostError):
    """The engine refused or failed a prediction."""

    code = "studiolo.prediction"


class PromptTooLongError(PredictionError):
    """The prompt has more tokens than the context of the loaded model."""

    code = "studiolo.promptTooLong"
    http_status = 400


class ProtocolError(HostError):
    """A frame, an endpoint or a parameter is not what the protocol says."""

    code = "studiolo.protocol"
    http_status = 400


class AuthenticationError(HostError):
    """The server asks for an API token, and was given none, or none that it knows."""

    code = "studiolo.authentication"
    http_status = 401


class PortInUseError(HostError):
    """A port to listen on is taken."""

    code = "studiolo.portInUse"


class ChannelClosedError(HostError):
    """The host closed a channel before its final message."""

    code = "studiolo.channelClosed"
    http_status = 502


class ClientError(StudioloError):
    """A problem found on the client's side."""

    code = "studiolo.client"
    http_status = 400


class CancelledError(ClientError):
    """The result of a cancelled prediction was asked for where there is none."""

    code = "studiolo.cancelled"
    http_status = 499


class ConnectionFailedError(ClientError):
    """The server cannot be reached, or the connection to it was lost."""

    code = "studiolo.connection"
    http_status = 502


class RequestTimeoutError(StudioloError, TimeoutError):
    """Nothing was heard from the host within the time limit."""

    code = "studiolo.timeout"
    http_status = 504


class ConfigError(StudioloError, ValueError):
    """A setting has a wrong name, type or range; the title names the field."""

    code = "studiolo.config"
    http_status = 400


class RejectedConfigError(HostError, ConfigError):
    """A setting that the host rejects: what a :class:`ConfigError` of the host is to its client."""

    code = "studiolo.config"


class LocalFileError(StudioloError, OSError):
    """A file on this machine cannot be read."""

    code = "studiolo.localFile"


class LocalFileNotFoundError(LocalFileError, FileNotFoundError):
    """There is no such file on this machine."""

    code = "studiolo.localFileNotFound"
    http_status = 404


class UnknownMessageWarning(ClientError, UserWarning):
    """The official client warns so of messages that it does not know; studiolo's client logs them instead."""

    code = "studiolo.unknownMessage"


class UsageError(StudioloError, RuntimeError):
    """The calls were made in an order that makes no sense."""

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
