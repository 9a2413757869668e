"""``studiolo ui``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..addresses import Address


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="ui")(pages)


def pages(
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Whether to open the link in the browser.")
    ] = True,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A server. Default: one that runs; one is started where there is none."),
    ] = None,
) -> None:
    """Open the pages in the browser, by a link that can be used once. It is printed, too."""
    import webbrowser

    address = _server(host or os.environ.get("STUDIOLO_HOST"))
    link = f"{address.url}{_path(address)}"
    print(link, flush=True)
    if open_browser:
        webbrowser.open(link)


def _server(named: str | None) -> Address:
    """Return the address of the named server, of the one in the background, of any that answers, or of a new one."""
    import asyncio

    from ..addresses import parse_address
    from ..errors import ConfigError
    from ..paths import Home
    from ..sdk.discovery import EMBEDDED, find_local_server
    from ..server.daemon import start_daemon
    from ..server.daemon_record import running_daemon
    from ..server.serve_options import ServeOptions
    from .output import say

    if named is not None:
        if named.strip().lower() == EMBEDDED:
            raise ConfigError("The pages need a server", suggestion="Name one with --host, or leave --host out.")
        return parse_address(named)
    home = Home.default()
    if (record := running_daemon(home)) is not None:
        return parse_address(record.address)
    if (found := asyncio.run(find_local_server())) is not None:
        return parse_address(found)
    record, _ = start_daemon(home, ServeOptions())
    say(f"the server runs at {record.address}, process {record.pid}; studiolo server stop ends it.")
    return parse_address(record.address)


def _path(address: Address) -> str:
    """Return the path of a one-time link. A server of another machine makes it for an API token."""
    from ..addresses import is_loopback
    from ..page_contract import PREFIX
    from ..paths import Home
    from ..sdk.discovery import find_token
    from ..server.pages.key import create_key
    from ..server.pages.sessions import sign_link

    if is_loopback(address.host):
        return f"{PREFIX}/enter?code={sign_link(create_key(Home.default()), address.port)}"
    token = find_token(None)
    return _asked_for(address, None if token.token is None else str(token.token))


def _asked_for(address: Address, api_token: str | None) -> str:
    import urllib.error
    import urllib.request

    import msgspec

    from ..errors import AuthenticationError, ConnectionFailedError
    from ..page_contract import PREFIX
    from ..sdk.tls import tls_context
    from ..struct_types import examined

    request = urllib.request.Request(f"{address.url}{PREFIX}/link", data=b"", method="POST")
    if api_token is not None:
        request.add_header("Authorization", f"Bearer {api_token}")
    try:
        with urllib.request.urlopen(request, timeout=10, context=tls_context(None) if address.tls else None) as answer:
            return msgspec.json.decode(answer.read(100_000), type=examined(dict[str, str]))["path"]
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise AuthenticationError(
                f"The server at {address} makes no link for this machine without an API token",
                suggestion="Set STUDIOLO_API_TOKEN to one of the server's, or run studiolo ui on its computer.",
            ) from None
        raise ConnectionFailedError(f"The server at {address} has no pages", cause=str(error)) from None
    except (OSError, msgspec.DecodeError, KeyError) as error:
        raise ConnectionFailedError(f"The server at {address} does not answer", cause=str(error)) from None
