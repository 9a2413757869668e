"""The settings of a host: ``config.toml`` in the home folder, every field of which may be left out.

::

    [library]
    folders = ["/data/models"]        # further folders with models
    programs = ["lmstudio", "ollama"] # whose models to list too

    [loading]
    guardrail = "strict"

    [models."qwen3-4b@q4_k_m"]        # defaults of one model
    load = { context_length = 16384 }
    prediction = { temperature = 0.2 }

    [presets.precise]                 # a named prediction config
    temperature = 0

A file that changes is read again at the next use. One that is wrong stops a host from starting, with an error that
names the field; while a host runs, the last good settings stay in force and the error is logged.
"""

from __future__ import annotations

import difflib
import logging
import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from .config import LoadConfig, PredictionConfig, explicit_fields, load_config, prediction_config
from .domain.models import Domain
from .errors import ConfigError, PresetNotFoundError
from .outbound import Reach
from .struct_types import examined
from .toml_file import invalid_field, nearest, read_toml, unknown_field, wrong_field

Program = Literal["lmstudio", "huggingface", "ollama"]
GuardrailLevel = Literal["off", "relaxed", "balanced", "strict"]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]

_log = logging.getLogger("studiolo.settings")


EMBEDDING_PREFIX = "text-embedding-"
"""What LM Studio puts before the names of embedding models, so that no LLM has the same key."""


def quoted(key: str) -> str:
    """Return a model key as the name of a table in ``config.toml``."""
    return f"'{key}'" if '"' in key or "\\" in key else f'"{key}"'


def with_prefix(name: str) -> str:
    """Return the key of the embedding model ``name``, whose last part begins with the prefix; once."""
    head, slash, last = name.rpartition("/")
    return name if last.lower().startswith(EMBEDDING_PREFIX) else f"{head}{slash}{EMBEDDING_PREFIX}{last}"


def without_prefix(key: str) -> str:
    """Return the bare name of the embedding model ``key``."""
    head, slash, last = key.rpartition("/")
    return f"{head}{slash}{last.removeprefix(EMBEDDING_PREFIX)}"


class LibrarySettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[library]``: where models are found.

    Parameters:
        folders: further folders with GGUF files; ``~`` is allowed. Default: none.
        programs: the programs whose models are listed too, where they are installed. Default: all three.
    """

    folders: tuple[str, ...] = ()
    programs: tuple[Program, ...] = ("lmstudio", "huggingface", "ollama")


class LoadingSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[loading]``: when models are loaded and unloaded.

    Parameters:
        guardrail: how much of the free memory a load may take: ``off``, ``relaxed``, ``balanced`` (the default),
            ``strict``, or the bytes that all loaded models together may take.
        jit: load a model when it is first asked for. Default: true.
        jit_ttl_sec: seconds of idleness after which a model loaded just in time is unloaded. Default: 3600.
        auto_evict: unload the models that were loaded just in time before another one is. Default: true.
        start_limit_sec: seconds that an engine may take to load a model. Default: 900.
    """

    guardrail: GuardrailLevel | Annotated[int, Meta(ge=1)] = "balanced"
    jit: bool = True
    jit_ttl_sec: Seconds = 3600.0
    auto_evict: bool = True
    start_limit_sec: Seconds = 900.0


class LimitSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[limits]``: what waits, how long, and when an engine is given up.

    Parameters:
        queue_length: predictions that may wait for a slot of one instance. Default: 512.
        queue_wait_sec: seconds that one may wait. Default: 600.
        health_interval_sec: seconds between two health checks of an engine. Default: 5.
        health_limit_sec: seconds that an engine may take to answer one before it is ended. Default: 20.
        crash_limit: crashes within ``crash_window_sec`` after which a model is quarantined. Default: 5.
        crash_window_sec: see ``crash_limit``. Default: 600.
        quarantine_sec: seconds that a quarantine lasts; unloading and loading the model ends it at once. Default: 300.
    """

    queue_length: Annotated[int, Meta(ge=0)] = 512
    queue_wait_sec: Seconds = 600.0
    health_interval_sec: Seconds = 5.0
    health_limit_sec: Seconds = 20.0
    crash_limit: Count = 5
    crash_window_sec: Seconds = 600.0
    quarantine_sec: Seconds = 300.0


BUNDLED_ENGINE = "llama.cpp"
"""The name of the engine that comes with studiolo."""


class EngineSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[engine]``: what runs the models.

    Parameters:
        name: a registered engine; ``studiolo doctor`` examines each. Default: the bundled one.
        llama_server: the binary of the engine ``llama-server``; found on ``PATH`` by default.
        saved_prompts_mib: MiB of disk for the prompts that engines have read, which survive their end; 0 for none.
            Default: 4096 where the home is private (no other user can look into it), otherwise 0.
    """

    name: str | None = None
    llama_server: str | None = None
    saved_prompts_mib: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None

    @property
    def is_bundled(self) -> bool:
        """Whether the engine is the one that comes with studiolo."""
        return self.name in (None, BUNDLED_ENGINE)


class ServerSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[server]``: how ``studiolo serve`` listens. Options of the command go before these.

    Parameters:
        host: the address. Default: 127.0.0.1.
        port: the port. Default: 1234.
        drain_limit_sec: seconds that predictions get to end after the order to stop. Default: 30.
        token_file: a file with the API tokens that clients authenticate with, one a line. Without one, no client needs
            a token, and the address must be one of loopback unless ``--no-auth`` is given.
        allow_origins: origins of pages that may use the server, besides those of this machine. Default: none.
        allow_hosts: names of the server, besides ``localhost``, its bind address and IP addresses. Default: none.
        certificate: the certificate for TLS, in PEM form. Default: none, for plain HTTP.
        key: its private key; defaults to the file of the certificate.
        aliases: models by the names that clients of HTTP insist on, such as ``"gpt-4o" = "qwen3-8b"``; ``"*"`` for
            every name that no model has. Default: none.
        strict_fields: refuse requests with fields that no client's library knows, instead of ignoring the fields and
            naming them in the header ``studiolo-ignored-fields``. Default: false.
        max_body_bytes: the size of a request's body at most. Default: 64 MiB.
        max_requests: requests with a body that are answered at once over HTTP; more are refused. Default: 1024.
        max_tools: tools in a request over HTTP at most. Default: 1024.
        idle_limit_sec: seconds that a client over HTTP may stop within sending its request, or taking its answer.
            Default: 300.
        request_limit_sec: seconds that a request over HTTP takes at most. Default: 86,400, a day.
        fetch_urls: whether images and documents are fetched that requests name by their addresses: ``never``, only
            from ``public`` addresses, or from ``any``, private networks and this machine included. Default: never.
        mcp_urls: whether requests over HTTP may name MCP servers by their addresses, which the server then calls:
            ``never``, only ``public`` addresses, or ``any``. Default: never.
        mcp_json: whether requests over HTTP may use the MCP servers of ``mcp.json``, programs included. Default: false.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 1234
    drain_limit_sec: Annotated[float, Meta(ge=0)] = 30.0
    token_file: str | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    certificate: str | None = None
    key: str | None = None
    aliases: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    strict_fields: bool = False
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 64 * 2**20
    max_requests: Count = 1024
    max_tools: Count = 1024
    idle_limit_sec: Seconds = 300.0
    request_limit_sec: Seconds = 86_400.0
    fetch_urls: Reach = "never"
    mcp_urls: Reach = "never"
    mcp_json: bool = False


class StoreSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[store]``: where responses and chats are stored that clients of HTTP continue by their ids. Read at the start.

    Parameters:
        url: of the database: ``sqlite:///PATH``, or ``postgresql+psycopg://USER@HOST/NAME`` with the extra
            ``postgres``. Default: the file ``store.db`` in the home.
        keep_days: days that a record is kept. Default: 30.
        max_records: records of each kind and API token, and conversations, at most; the oldest are removed. Default:
            10,000.
    """

    url: str | None = None
    keep_days: Annotated[float, Meta(gt=0)] = 30.0
    max_records: Count = 10_000


class ModelSettings(Struct, kw_only=True, frozen=True):
    """``[models.KEY]``: defaults of one model. What a request sets goes before them.

    Parameters:
        load: its load config.
        prediction: its prediction config.
        preset: a preset that its predictions begin with.
        domain: ``embedding`` or ``llm``: what it is used as, whatever its file says. Default: the file's.
    """

    load: LoadConfig = msgspec.field(default_factory=LoadConfig)
    prediction: PredictionConfig = msgspec.field(default_factory=PredictionConfig)
    preset: str | None = None
    domain: Domain | None = None


class Settings(Struct, kw_only=True, frozen=True):
    """All settings. ``models`` goes by model key, ``presets`` by name."""

    library: LibrarySettings = LibrarySettings()
    loading: LoadingSettings = LoadingSettings()
    limits: LimitSettings = LimitSettings()
    engine: EngineSettings = EngineSettings()
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    models: dict[str, ModelSettings] = msgspec.field(default_factory=dict[str, ModelSettings])
    presets: dict[str, PredictionConfig] = msgspec.field(default_factory=dict[str, PredictionConfig])

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains that are set, by model key."""
        return {key: model.domain for key, model in self.models.items() if model.domain is not None}

    def prediction(self, model: ModelSettings, preset: str | None = None) -> PredictionConfig:
        """What predictions of a model begin with: the model's preset, its settings, then the preset asked for.

        Parameters:
            model: the settings of the model.
            preset: the name of the preset asked for.

        Raises:
            PresetNotFoundError: there is no preset of that name.
        """
        fields: dict[str, Any] = {}
        if model.preset is not None:
            fields |= explicit_fields(self.preset(model.preset))
        fields |= explicit_fields(model.prediction)
        if preset is not None:
            fields |= explicit_fields(self.preset(preset))
        return PredictionConfig(**fields)

    def preset(self, name: str) -> PredictionConfig:
        """The preset called ``name``; case, and LM Studio's prefix ``@local:``, do not matter.

        Raises:
            PresetNotFoundError: there is none.
        """
        wanted = name.removeprefix("@local:").casefold()
        found = self.presets.get(name) or next(
            (config for known, config in self.presets.items() if known.casefold() == wanted), None
        )
        if found is not None:
            return found
        near = difflib.get_close_matches(wanted, self.presets, n=3)
        raise PresetNotFoundError(
            f"There is no preset {name!r}",
            cause=f"The presets are {', '.join(sorted(self.presets)[:10])}." if self.presets else "There are none.",
            suggestion=(
                f"Did you mean {near[0]!r}?" if near else f"Write it into config.toml, under [presets.{name}]."
            ),
            data={
                "specifiedFuzzyPresetIdentifier": name,
                "availablePresetsSample": [
                    {"identifier": known, "name": known} for known in near or sorted(self.presets)[:10]
                ],
                "totalAvailablePresets": len(self.presets),
            },
        )


class SettingsFile:
    """The settings in a file, read again when it has changed. Safe to use from any thread.

    Parameters:
        path: the file; one that does not exist means that every setting has its default.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._settings: Settings | None = None
        self._seen: tuple[int, int] | None = None

    def current(self) -> Settings:
        """The settings in force. Costs a stat of the file.

        Raises:
            ConfigError: the file is wrong, and there are no earlier settings to keep.
        """
        stamp = self._look()
        if self._settings is not None and stamp == self._seen:
            return self._settings
        self._seen = stamp
        try:
            self._settings = read_settings(self.path)
        except ConfigError as error:
            if self._settings is None:
                raise
            _log.error("the earlier settings stay in force: %s", error)
        return self._settings

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def read_settings(path: Path) -> Settings:
    """Read a settings file; all defaults where there is none.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has a wrong field; the message names it.
    """
    fields: dict[str, Any] = {}
    for name, table in read_toml(path).items():
        if name not in Settings.__struct_fields__:
            raise unknown_field(path, name, Settings.__struct_fields__, "table")
        if not isinstance(table, dict):
            raise wrong_field(path, name, "it must be a table")
        content = cast("dict[str, Any]", table)
        match name:
            case "models":
                fields[name] = {key: _model(path, key, value) for key, value in content.items()}
            case "presets":
                fields[name] = {
                    key: _config(path, f"presets.{key}", prediction_config, value) for key, value in content.items()
                }
            case _:
                kind = cast("type[Struct]", type(getattr(Settings(), name)))
                try:
                    fields[name] = msgspec.convert(content, examined(kind))
                except msgspec.ValidationError as error:
                    raise invalid_field(path, name, error, kind.__struct_fields__) from None
    settings = Settings(**fields)
    for key, model in settings.models.items():
        if model.preset is not None and model.preset not in settings.presets:
            suggestion = nearest(model.preset, settings.presets)
            cause = f"there is no preset {model.preset!r}"
            raise wrong_field(path, f"models.{key}.preset", cause, suggestion=suggestion)
    return settings


def _model(path: Path, key: str, value: Any) -> ModelSettings:
    where = f"models.{key}"
    if not isinstance(value, dict):
        raise wrong_field(path, where, "it must be a table")
    table = cast("dict[str, Any]", value)
    if unknown := table.keys() - set(ModelSettings.__struct_fields__):
        raise unknown_field(path, f"{where}.{min(unknown)}", ModelSettings.__struct_fields__)
    preset = table.get("preset")
    if preset is not None and not isinstance(preset, str):
        raise wrong_field(path, f"{where}.preset", "it must be the name of a preset")
    domain = table.get("domain")
    if domain not in (None, "llm", "embedding"):
        raise wrong_field(path, f"{where}.domain", "it must be 'llm' or 'embedding'")
    return ModelSettings(
        load=_config(path, f"{where}.load", load_config, table.get("load")),
        prediction=_config(path, f"{where}.prediction", prediction_config, table.get("prediction")),
        preset=preset,
        domain=domain,
    )


def _config(path: Path, where: str, check: Any, value: Any) -> Any:
    try:
        return check(value)
    except ConfigError as error:
        named = re.search(r"field '([\w]+)", error.title)
        raise wrong_field(
            path,
            where,
            error.title + (f". {error.cause}" if error.cause else ""),
            suggestion=error.suggestion,
            within=named[1] if named else "",
        ) from None
