"""API tokens in LM Studio's form: ``sk-lm-`` and an identifier, a colon, and a passkey.

On LM Studio's wire they are the client identifier and the client passkey of the handshake; over HTTP, a bearer token.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import NamedTuple

from .errors import ConfigError

TOKEN_PATTERN = re.compile(r"sk-lm-(?P<identifier>[A-Za-z0-9]{8}):(?P<passkey>[A-Za-z0-9]{20})")


class ApiToken(NamedTuple):
    """An API token in its two parts."""

    identifier: str
    passkey: str

    def __str__(self) -> str:
        return f"sk-lm-{self.identifier}:{self.passkey}"

    def __repr__(self) -> str:
        return f"ApiToken({self.identifier!r})"  # logs must not contain the passkey


def parse_api_token(text: str, where: str) -> ApiToken:
    """Return the API token in ``text``, which may have white space around it.

    Parameters:
        text: the text.
        where: where the text is from, for the error, which does not repeat the text.

    Raises:
        ConfigError: the text does not have the form of an API token.
    """
    match = TOKEN_PATTERN.fullmatch(text.strip().strip("\ufeff"))
    if match is None:
        raise ConfigError(
            f"{where} is not an API token",
            cause="An API token is sk-lm- and 8 letters or digits, a colon, and 20 letters or digits.",
            suggestion="Copy the whole API token from its file.",
        )
    return ApiToken(**match.groupdict())


def new_api_token() -> ApiToken:
    """Return a new random API token."""
    letters = string.ascii_letters + string.digits
    return ApiToken(*("".join(secrets.choice(letters) for _ in range(length)) for length in (8, 20)))
