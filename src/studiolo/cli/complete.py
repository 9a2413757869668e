"""``studiolo complete``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..sdk.prediction import PredictionResult


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
        print(_summary(result), file=sys.stderr)


def _summary(result: PredictionResult[Any]) -> str:
    stats = result.stats
    first, rate, total = stats.time_to_first_token_sec, stats.tokens_per_second, stats.total_time_sec
    parts = [
        result.model_info.model_key,
        f"{stats.prompt_tokens_count} tokens in, {stats.predicted_tokens_count} out",
        f"{rate:.1f} tok/s" if rate else None,
        f"first token after {first:.3f} s" if first is not None else None,
        f"{total:.2f} s in all" if total is not None else None,
        f"stopped by {stats.stop_reason}",
    ]
    return "\n" + " | ".join(part for part in parts if part)
