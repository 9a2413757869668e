"""TLS of connections to servers: certificates are checked, and nothing falls back to plain text."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from ..errors import ConfigError

AUTHORITY_NAME = "STUDIOLO_CERTIFICATE_AUTHORITY"
"""The environment variable with the file of a private certificate authority."""


def tls_context(authority: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """Return the settings of TLS connections.

    Parameters:
        authority: a file with the certificates of the authorities to trust, in PEM form; by default the one that
            ``STUDIOLO_CERTIFICATE_AUTHORITY`` names, else the authorities that this machine trusts.

    Raises:
        ConfigError: the file cannot be read, or has no certificate.
    """
    file = authority or os.environ.get(AUTHORITY_NAME)
    try:
        return ssl.create_default_context(cafile=None if file is None else Path(file).expanduser())
    except ssl.SSLError:
        cause = "It has no certificate in PEM form."
    except OSError as error:
        cause = error.strerror or "It cannot be opened."
    named = "certificate_authority" if authority else AUTHORITY_NAME
    raise ConfigError(f"The certificate authority {file}, which {named} names, cannot be used", cause=cause)


def tls_fault(error: ssl.SSLError) -> tuple[str, str]:
    """Return why a TLS connection failed, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"Its certificate is not trusted: {error.verify_message}.",
            "If a private authority issued it, name the authority's file with certificate_authority, or "
            f"{AUTHORITY_NAME} in the environment.",
        )
    return (
        f"No TLS connection could be made ({error.reason or 'unknown reason'}).",
        "If the server has no certificate, use http:// to connect without encryption.",
    )
