"""The options that ``studiolo serve``, ``server start`` and ``server restart`` share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

# Each is a field of studiolo.server.serve_options.ServeOptions.
_OPTIONS: dict[str, Any] = {
    "host": Annotated[str | None, typer.Option(help="The address to listen on. Default: 127.0.0.1.")],
    "port": Annotated[
        int | None, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one. Default: 1234.")
    ],
    "model": Annotated[
        str | None, typer.Option("-m", "--model", help="The model to load at once. Default: the one last used.")
    ],
    "load": Annotated[bool | None, typer.Option("--load/--no-load", help="Whether to load a model at once.")],
    "sdk_port": Annotated[
        bool | None,
        typer.Option("--sdk-port/--no-sdk-port", help="Whether to listen where LM Studio's SDKs look, too."),
    ],
    "token_file": Annotated[
        str | None, typer.Option(help="A file with API tokens, one a line: clients need one of them. Default: none.")
    ],
    "no_auth": Annotated[
        bool | None, typer.Option("--no-auth", help="Require no API token, even at an address open to other machines.")
    ],
    "allow_origin": Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="An origin whose pages may use the server. May be given several times."),
    ],
    "allow_host": Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name of the server. May be given several times.")
    ],
    "certificate": Annotated[str | None, typer.Option(help="A certificate: serve with TLS. Default: none.")],
    "key": Annotated[str | None, typer.Option(help="The certificate's key. Default: in the certificate's file.")],
}


def with_serve_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of ``studiolo serve`` to a command, which receives them as its argument ``options``."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        from ..server.serve_options import ServeOptions

        given = {name: values.pop(name) for name in _OPTIONS}
        command(options=ServeOptions(**{name: value for name, value in given.items() if value != []}), **values)

    hints = get_type_hints(command, localns={"ServeOptions": object}, include_extras=True)
    signature = inspect.signature(command)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, each in signature.parameters.items()
        if name != "options"
    ]
    run.__signature__ = signature.replace(parameters=[*added, *own])  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {each.name: each.annotation for each in (*added, *own)}
    return run
