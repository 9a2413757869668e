"""Validation of requests: the same for a host in this process as for one behind a socket."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from ..config import is_text
from ..errors import ConfigError

P = TypeVar("P")


def validated(parameter: P) -> P:
    """Return the parameter of an endpoint as a server would receive it.

    Raises:
        ConfigError: it cannot be sent as JSON, or has a wrong type; the message names the place.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode(parameter), type=type(parameter))
    except UnicodeEncodeError:
        path = _path_to_surrogate(msgspec.to_builtins(parameter)) or ""
        raise ConfigError(
            f"The request's text at {path.removeprefix('.')} contains a lone surrogate (invalid Unicode)",
            cause="Text that was decoded with 'surrogateescape' may have them.",
            suggestion="Replace them: text.encode('utf-8', 'replace').decode().",
        ) from None
    except RecursionError:
        raise ConfigError("The request is nested too deeply") from None
    except (TypeError, msgspec.ValidationError) as error:
        raise ConfigError("The request cannot be sent", cause=str(error).replace("`", "'")) from None


def _path_to_surrogate(value: Any) -> str | None:
    if isinstance(value, str):
        return None if is_text(value) else ""
    if isinstance(value, dict):
        items = [(f".{key}", item) for key, item in cast("dict[str, Any]", value).items()]
    elif isinstance(value, list):
        items = [(f"[{index}]", item) for index, item in enumerate(cast("list[Any]", value))]
    else:
        return None
    for path, item in items:
        if (found := _path_to_surrogate(item)) is not None:
            return path + found
    return None
