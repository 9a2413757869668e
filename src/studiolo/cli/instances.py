"""``studiolo ps``, ``load``, ``unload``, ``status``: what a running server has loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from .. import InstanceStatus
    from ..sdk.async_namespaces import OnMismatch
    from ..sdk.sync_client import Client, EmbeddingNamespace, LlmNamespace

COLUMNS = ("IDENTIFIER", "MODEL", "STATE", "RUNNING", "WAITING", "CONTEXT", "SIZE", "TTL", "PID")
SHOWN_CRASHES = 5


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ps)
    app.command()(load)
    app.command()(unload)
    app.command()(status)


def ps(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the loaded models."""
    from .output import print_json, say

    with _any_client() as client:
        served = client.api_host != "embedded"
        about = client.system.info() if served else None
    instances = about.studiolo.instances if about and about.studiolo else []
    if json:
        print_json(instances)
    elif instances:
        _print_table(instances)
    else:
        say("no model is loaded." if served else "no server is running, so that no model is loaded.")


def load(
    model: Annotated[str, typer.Argument(help="A model; see studiolo ls.")],
    identifier: Annotated[str | None, typer.Option(help="The name of the instance. Default: the model's.")] = None,
    context_length: Annotated[
        int | None, typer.Option(help="Tokens of context. Default: what fits, up to the model's limit.")
    ] = None,
    parallel: Annotated[int | None, typer.Option(help="Predictions at once. Default: 4.")] = None,
    gpu: Annotated[str | None, typer.Option(help="off, max, or a share of the layers from 0 to 1.")] = None,
    ttl: Annotated[int | None, typer.Option(help="Unload after so many idle seconds. Default: never.")] = None,
    domain: Annotated[
        Literal["llm", "embedding"] | None, typer.Option(help="Use it so, whatever its file says. Default: the file's.")
    ] = None,
    on_mismatch: Annotated[
        Literal["keep", "error", "reload"],
        typer.Option(help="If it is loaded with other settings: keep it, error, or reload it."),
    ] = "keep",
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[:SCALE]", help="A LoRA adapter; may be given again. Default of the scale: 1."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other load setting; may be given again."),
    ] = None,
    estimate_only: Annotated[
        bool, typer.Option("--estimate-only", help="Print the memory that it would take, and load nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --estimate-only: print JSON.")] = False,
) -> None:
    """Load a model into the running server."""
    from ..errors import DomainMismatchError
    from .output import load_progress, say

    config: dict[str, Any] = {"context_length": context_length, "max_parallel_predictions": parallel}
    if gpu is not None:
        config["gpu"] = {"ratio": gpu if gpu in ("off", "max") else _ratio(gpu)}
    if lora:
        config["lora"] = [_adapter(text) for text in lora]
    config = {name: value for name, value in config.items() if value is not None} | dict(
        map(setting_in, settings or [])
    )
    if estimate_only:
        _estimate(model, config, json)
        return
    with _server() as client, load_progress(model) as show:
        wanted: dict[str, Any] = {"ttl": ttl, "config": config, "domain": domain, "on_load_progress": show}
        try:
            first = client.embedding if domain == "embedding" else client.llm
            name, notices = _load(first, model, identifier, on_mismatch, wanted)
        except DomainMismatchError:
            if domain is not None:
                raise
            name, notices = _load(client.embedding, model, identifier, on_mismatch, wanted)
    for notice in notices:
        say(f"{notice}. Load it again with: --on-mismatch reload.")
    say(f"{name} is loaded.")


def _load(
    namespace: LlmNamespace | EmbeddingNamespace,
    model: str,
    identifier: str | None,
    on_mismatch: OnMismatch,
    options: dict[str, Any],
) -> tuple[str, list[str]]:
    """Load a model that is not loaded, or another instance under an identifier of its own.

    Returns the identifier, and what to say of an instance that is kept.
    """
    import warnings

    from ..errors import LoadMismatchError, LoadMismatchWarning, ModelNotFoundError

    if identifier is None:
        with contextlib.suppress(ModelNotFoundError):
            known = namespace.get_model_info(model).identifier
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", LoadMismatchWarning)
                try:
                    handle = namespace.model(known, on_mismatch=on_mismatch, **options)
                except LoadMismatchError as error:
                    error.suggestion = "Load it again with --on-mismatch reload, or load another with --identifier."
                    raise
            return handle.identifier, [str(each.message) for each in caught]
    return namespace.load_new_instance(model, identifier, **options).identifier, []


def _adapter(text: str) -> tuple[str, float]:
    """The name and the scale in ``KEY[:SCALE]``; a path that exists becomes absolute."""
    from pathlib import Path

    name, scale = text, 1.0
    before, colon, number = text.rpartition(":")
    if colon:
        with contextlib.suppress(ValueError):
            name, scale = before, float(number)
    if name.lower().endswith(".gguf") and Path(name).expanduser().is_file():
        name = str(Path(name).expanduser().absolute())
    return name, scale


def setting_in(text: str) -> tuple[str, Any]:
    """The load setting in ``NAME=VALUE``; a value that is no JSON is text."""
    import msgspec

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE.", param_hint="--set")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _estimate(name: str, given: dict[str, Any], json: bool) -> None:
    import asyncio

    from ..config import load_config
    from ..host.host import Host
    from ..units import size
    from .output import print_json, print_table, say

    async def ask() -> Any:
        host = Host()
        try:
            return await host.estimate(await host.find_model(name), config)
        finally:
            await host.stop()

    config = load_config(given)
    estimate = asyncio.run(ask())
    if json:
        print_json(estimate)
    else:
        parts = ("weights", "kv_cache", "compute", "checkpoints", "engine", "prompt_cache", "total")
        print_table(
            ("PART", "SIZE"), [(part.replace("_", " "), size(getattr(estimate, f"{part}_bytes"))) for part in parts]
        )
        print()
        devices = [
            (device.name, size(device.needed_bytes), size(device.available_bytes)) for device in estimate.devices
        ]
        print_table(("DEVICE", "NEEDED", "FREE"), devices)
        print()
        granted = "" if estimate.granted_bytes is None else f" and grants {size(max(estimate.granted_bytes, 0))}"
        print(
            f"Context: {estimate.context_length} tokens for each of {estimate.max_parallel_predictions} predictions;"
            f" {estimate.largest_context_length or 'none'} at most. The guardrail is {estimate.guardrail}{granted}."
        )
    if not estimate.fits:
        say("it does not fit.")
        raise typer.Exit(1)


def unload(
    identifier: Annotated[str | None, typer.Argument(help="A loaded model; see studiolo ps.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Unload every model.")] = False,
) -> None:
    """Unload a model from the running server."""
    from .output import say

    if (identifier is None) != everything:
        raise typer.BadParameter("Give the identifier of a loaded model, or --all.")
    with _server() as client:
        about = client.system.info()
        names = [i.identifier for i in about.studiolo.instances] if about.studiolo else []
        for name in names if everything else [str(identifier)]:
            client.llm.unload(name)
            say(f"{name} is unloaded.")


def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print whether a server runs, and what it has loaded."""
    import datetime

    from ..units import duration
    from .output import print_json

    with _any_client() as client:
        address = client.api_host
        about = client.system.info() if address != "embedded" else None
    if about is None:
        if json:
            print_json({"running": False})
        else:
            print("No server is running. Start one with: studiolo serve")
        return
    if json:
        print_json({"running": True, "address": address, **_fields(about)})
        return
    host = about.studiolo
    print(f"A server runs at {address}: version {about.version}, process {about.pid}" + ("." if host is None else ""))
    if host is not None:
        print(f"Up for {duration(host.uptime_sec)}; models in {host.models_folder}")
        if host.instances:
            print()
            _print_table(host.instances)
        if host.crashes:
            print(f"\nEngines that crashed ({len(host.crashes)} lately; --json lists all of them):")
        for crash in host.crashes[-SHOWN_CRASHES:]:
            when = datetime.datetime.fromtimestamp(crash.time).astimezone()
            print(f"  {when:%Y-%m-%d %H:%M:%S} {crash.identifier}: {crash.reason}; {len(crash.running)} ran on it")


def _fields(about: Any) -> dict[str, Any]:
    import msgspec

    return msgspec.to_builtins(about)


def _print_table(instances: Sequence[InstanceStatus]) -> None:
    from .output import print_table, printable

    print_table(COLUMNS, [_row(instance) for instance in instances])
    for instance in instances:
        if instance.note:
            print(printable(f"{instance.identifier}: {instance.note}."))


def _row(instance: InstanceStatus) -> tuple[str, ...]:
    from ..units import duration, size

    return (
        instance.identifier,
        instance.model_key,
        instance.state,
        f"{instance.running}/{instance.parallel}",
        str(len(instance.queue)),
        str(instance.context_length),
        size(instance.size_bytes),
        "-" if instance.ttl_sec is None else duration(instance.ttl_sec),
        str(instance.pid or "-"),
    )


def _ratio(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither off, max, nor a number.", param_hint="--gpu") from None


@contextlib.contextmanager
def _any_client() -> Generator[Client, None, None]:
    from ..sdk.sync_client import Client

    with Client() as client:
        yield client


@contextlib.contextmanager
def _server() -> Generator[Client, None, None]:
    """A client of the running server: loading into this short-lived process would help nobody."""
    from ..errors import ConnectionFailedError

    with _any_client() as client:
        if client.api_host == "embedded":
            raise ConnectionFailedError("No server is running", suggestion="Start one with: studiolo serve")
        yield client
