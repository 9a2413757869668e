"""``studiolo complete``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(complete)


def complete(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    model: Annotated[str | None, typer.Option("-m", "--model", help="Which model; see studiolo ls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens to generate at most.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is the likeliest text. Default: 0.8.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be given again.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None,
    stats: Annotated[bool, typer.Option("--stats", help="Print statistics afterwards, on standard error.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the text and the stats.")] = False,
) -> None:
    """Continue a text."""
    from msgspec.structs import asdict

    from ..chats.stats_line import summary
    from ..config import explicit_fields, prediction_config
    from ..errors import ConfigError
    from ..sdk.sync_client import Client
    from .output import fetch_progress, print_json
    from .standard_streams import decoded

    stop = [decoded(each, "A stop string") for each in stop] if stop else stop
    given: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "stop_strings": stop, "seed": seed}
    config = prediction_config({name: value for name, value in given.items() if value is not None})
    if prompt == "-":
        try:
            prompt = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise ConfigError(f"Standard input is not a text in {error.encoding}") from None
    prompt = decoded(prompt, "The prompt")
    with Client() as client, fetch_progress() as show:
        llm = client.llm.model(model, on_fetching=lambda f: show(f.model_key, f.downloaded_bytes, f.total_bytes))
        stream = llm.complete_stream(prompt, config=config)
        for fragment in stream:
            if not json:
                print(fragment, end="", flush=True)
        result = stream.result()
    if json:
        print_json(
            {
                "model": result.model_info.model_key,
                "content": result.content,
                "stats": asdict(result.stats),
                "prediction_config": explicit_fields(result.prediction_config),
            }
        )
        return
    if not result.content.endswith("\n"):
        print()
    if stats:
        print(f"\n{summary(result.model_info.model_key, asdict(result.stats))}", file=sys.stderr)
