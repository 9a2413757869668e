"""API tokens, in LM Studio's form: ``sk-lm-`` and an identifier, a colon, and a passkey.

On the wire they are the client identifier and the client passkey of the handshake; over HTTP, a bearer token.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import NamedTuple

from .errors import ConfigError

FORM = re.compile(r"sk-lm-(?P<identifier>[A-Za-z0-9]{8}):(?P<passkey>[A-Za-z0-9]{20})")


class Token(NamedTuple):
    """A token in its two parts."""

    identifier: str
    passkey: str

    def __str__(self) -> str:
        return f"sk-lm-{self.identifier}:{self.passkey}"

    def __repr__(self) -> str:
        return f"Token({self.identifier!r})"  # nothing that gets into a log lets anyone in


def parse_token(text: str, where: str) -> Token:
    """The token that ``text`` is; white space around it does not matter.

    Parameters:
        where: what the text was given as, for the error, which does not repeat the text.

    Raises:
        ConfigError: it has not the form of a token.
    """
    match = FORM.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"{where} is not an API token",
            cause="A token is sk-lm- and 8 letters or digits, a colon, and 20 letters or digits.",
            suggestion="Take it over whole from where it was made.",
        )
    return Token(**match.groupdict())


def new_token() -> Token:
    """A token that nobody can guess."""
    signs = string.ascii_letters + string.digits
    return Token(*("".join(secrets.choice(signs) for _ in range(length)) for length in (8, 20)))
