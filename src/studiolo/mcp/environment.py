"""The environment of an MCP server's program: what it needs of this process's, without its secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_PASSED = frozenset(
    {
        *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "TMPDIR", "TZ", "LANG", "LANGUAGE", "DOCKER_HOST"),
        *("APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATHEXT", "PROCESSOR_ARCHITECTURE"),
        *("PROGRAMDATA", "PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE"),
        *("WINDIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    }
)
_PASSED_PREFIXES = ("LC_", "XDG_", "UV_", "NPM_CONFIG_")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET = frozenset(
    {
        *("TOKEN", "TOKENS", "AUTHTOKEN", "ACCESSTOKEN", "KEY", "KEYS", "APIKEY", "SECRET", "SECRETS", "OTP"),
        *("PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE", "PASS", "PWD", "AUTH", "CREDENTIAL", "CREDENTIALS"),
    }
)
"""Words in the names of variables that hold secrets."""

_PROXY_USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.IGNORECASE | re.DOTALL)
_URL_USERINFO = re.compile(r"((?:https?|socks[45][ah]?)://)[^\s/?#]*@", re.IGNORECASE)


def program_environment(
    named: Mapping[str, str] | None, environment: Mapping[str, str] = os.environ
) -> tuple[dict[str, str], list[str]]:
    """Return the environment of a server's program, and the names of the variables that lost a user name or password.

    What programs need to find files, the network and the language is passed, in either case of letters. Secrets are
    not, unless the entry of the server names them: neither variables of secrets nor the user names and passwords in
    addresses. docs/tools.md lists the variables.

    Parameters:
        named: the ``env`` of the server's entry.
    """
    passed = dict[str, str]()
    shortened = list[str]()
    for name, value in environment.items():
        if _is_passed(name) and not value.startswith("()"):  # a function of the shell
            passed[name] = _without_userinfo(name, value)
            if passed[name] != value and name not in (named or {}):
                shortened.append(name)
    return {**passed, **(named or {})}, shortened


def url_without_userinfo(url: str) -> str:
    """Return an address without the user name and password before its host."""
    return _URL_USERINFO.sub(r"\1", url)


def _is_passed(name: str) -> bool:
    upper = name.upper()
    if upper in _PASSED:
        return True
    return upper.startswith(_PASSED_PREFIXES) and _SECRET.isdisjoint(word.upper() for word in _WORD.findall(name))


def _without_userinfo(name: str, value: str) -> str:
    if name.upper().endswith("_PROXY"):
        return _PROXY_USERINFO.sub(lambda found: found[1] or "", value)
    return url_without_userinfo(value)
