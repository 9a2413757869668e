"""The options of ``studiolo serve``, and what they and the settings add up to."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from ..addresses import bracketed, parse_bind_host
from ..errors import ConfigError
from ..settings import ServerSettings
from .access import AccessRules
from .listeners import resolves_to_loopback

_PATHS = ("token_file", "certificate", "key")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How to serve. ``None`` means the value of the settings.

    Parameters:
        host: the bind address.
        port: the port to listen on, 0 for any free one.
        load: whether to load a model at once, for clients that use only models that are loaded.
        model: the model to load at once; defaults to the one last used, else to the catalog's default.
        sdk_port: whether to listen on one of the ports where LM Studio's SDKs look, too.
        token_file: the file with the API tokens that clients authenticate with.
        no_auth: ``True`` if clients need no API token, also at an address that other machines reach.
        allow_origin: origins of pages that may use the server, besides those of this machine.
        allow_host: names of the server, besides ``localhost`` and its bind address.
        certificate: the file with the certificate for TLS, and those of the authorities between it and the root.
        key: the file with its private key; defaults to the certificate's file.
    """

    host: str | None = None
    port: int | None = None
    load: bool | None = None
    model: str | None = None
    sdk_port: bool | None = None
    token_file: str | None = None
    no_auth: Literal[True] | None = None
    allow_origin: list[str] | None = None
    allow_host: list[str] | None = None
    certificate: str | None = None
    key: str | None = None

    def command_line(self) -> list[str]:
        """Return the words that give these options to ``studiolo serve``."""
        words: list[str] = []
        for each in fields(self):
            value: bool | int | str | list[str] | None = getattr(self, each.name)
            option = each.name.replace("_", "-")
            match value:
                case None:
                    pass
                case bool():
                    words.append(f"--{option}" if value else f"--no-{option}")
                case list():
                    words += [word for item in value for word in (f"--{option}", item)]
                case _:
                    words += [f"--{option}", _expanded(str(value)) if each.name in _PATHS else str(value)]
        return words


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a server listens, and whom it answers.

    Parameters:
        host: the bind address, without brackets.
        port: the port, 0 for any free one.
        is_loopback: whether only this machine reaches the address.
        rules: the origins and names that are accepted.
        token_file: the file with the API tokens; ``None`` if clients need none.
        certificate: the files of the certificate and of its key; ``None`` for plain HTTP.
    """

    host: str
    port: int
    is_loopback: bool
    rules: AccessRules
    token_file: str | None = None
    certificate: tuple[str, str | None] | None = None

    def url(self, port: int) -> str:
        """Return the URL of the server at ``port``."""
        return f"http{'s' if self.certificate else ''}://{bracketed(self.host)}:{port}"


def listening(options: ServeOptions, settings: ServerSettings) -> Listening:
    """Return where and how to listen; options go before settings.

    Raises:
        ConfigError: an option is malformed, or the address is open to other machines without an API token.
    """
    host = parse_bind_host(settings.host if options.host is None else options.host)
    if options.no_auth and options.token_file is not None:
        raise ConfigError("--no-auth and --token-file contradict each other", suggestion="Give one of them.")
    token_file = None if options.no_auth else options.token_file or settings.token_file
    is_loopback = resolves_to_loopback(host)
    if not is_loopback and token_file is None and not options.no_auth:
        raise ConfigError(
            f"{host} is open to other machines, and no API token is required",
            cause="Everyone who reaches it could load models, read prompts and have files of this machine read.",
            suggestion=(
                "Require a token with --token-file FILE, which studiolo server token FILE creates; or give --no-auth "
                "if everyone may use the server."
            ),
        )
    certificate, key = options.certificate or settings.certificate, options.key or settings.key
    if certificate is None and key is not None:
        raise ConfigError("A key was given, and no certificate", suggestion="Give its file with --certificate.")
    if certificate is not None:
        certificate, key = _expanded(certificate), key and _expanded(key)
        check_certificate(certificate, key)
    return Listening(
        host=host,
        port=settings.port if options.port is None else options.port,
        is_loopback=is_loopback,
        rules=AccessRules(
            host,
            (*settings.allow_origins, *(options.allow_origin or ())),
            (*settings.allow_hosts, *(options.allow_host or ())),
        ),
        token_file=token_file,
        certificate=None if certificate is None else (certificate, key),
    )


def check_certificate(certificate: str, key: str | None) -> None:
    """Raise :class:`ConfigError` if the two files are not a certificate and its key."""

    def no_password() -> str:
        raise ConfigError(
            f"The key in {key or certificate} is encrypted",
            suggestion="Give a file with the decrypted key that only you can read: openssl pkey -in KEY -out FILE",
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        fault = (
            "The key is not the certificate's." if error.reason == "KEY_VALUES_MISMATCH" else "It is not in PEM form."
        )
        files = certificate if key is None else f"{certificate} and {key}"
        raise ConfigError(
            f"{files} cannot be used as a certificate and its key",
            cause=fault,
            suggestion="Give two files in PEM form with --certificate and --key, or one that has both.",
        ) from None
    except OSError as error:
        for file in filter(None, (certificate, key)):
            _check_readable(file)
        raise ConfigError(f"The certificate {certificate} cannot be used", cause=error.strerror) from None


def _check_readable(file: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{file} cannot be read", cause=error.strerror or "It cannot be opened.") from None


def _expanded(path: str) -> str:
    return str(Path(path).expanduser().absolute())
