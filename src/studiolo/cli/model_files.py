"""``studiolo ls``, ``show``, ``import`` and ``rm``: the models on disk."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .. import LibraryModel
    from ..library.model import Model
    from ..paths import Home
    from ..sdk.sync_client import Client


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("ls")(list_models)
    app.command()(show)
    app.command("import")(import_file)
    app.command()(rm)


def list_models(
    llm: Annotated[bool, typer.Option("--llm", help="Only LLMs.")] = False,
    embedding: Annotated[bool, typer.Option("--embedding", help="Only embedding models.")] = False,
    variants: Annotated[bool, typer.Option("--variants", help="A line for each variant of a model.")] = False,
    detailed: Annotated[bool, typer.Option("--detailed", help="Show abilities and files too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models on disk: a line for each, and what cannot be used."""
    from ..sdk.sync_client import Client
    from ..units import size
    from .output import print_json, print_table, printable, say

    if llm and embedding:
        raise typer.BadParameter("Give --llm, --embedding, or neither.")
    kind = "llm" if llm else "embedding" if embedding else None
    with Client() as client:
        entries = _entries(client)
    if kind is not None:
        entries = [each for each in entries if each.type == kind]
    if not variants:
        entries = [_as_group(each) for each in entries if each.selected]
    if json:
        print_json(entries)
        return
    usable = [each for each in entries if each.error is None]
    adapters = [each for each in entries if each.fits]
    broken = [each for each in entries if each.error is not None and not each.fits]
    if usable:
        print_table(*_table(usable, variants, detailed))
    elif not broken:
        say(
            "the library is empty. studiolo get fetches the default model."
            if kind is None
            else f"there is no {'LLM' if llm else 'embedding model'}. studiolo ls lists all models."
        )
    for each in usable:
        if each.note is not None:
            print(f"\n{printable(each.model_key)}: {printable(each.note)}")
    if adapters:
        print("\nLoRA adapters, which are listed and not loaded:")
        rows = [[each.model_key, ", ".join(each.fits or []), size(each.size_bytes)] for each in adapters]
        print_table(["ADAPTER", "FITS", "SIZE"], rows)
    if broken:
        print(("\n" if usable else "") + "These cannot be used:")
        for each in broken:
            print(f"  {printable(each.model_key)}: {printable(each.error or '')}")


def show(
    model: Annotated[str, typer.Argument(help="A model; see studiolo ls.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show all that is known of a model: its files, abilities, header and chat template."""
    from ..errors import UnsupportedError
    from ..sdk.sync_client import Client
    from .output import print_json, printable

    with Client() as client:
        if client.system.info().studiolo is None:
            raise UnsupportedError(
                f"The server at {client.api_host} is not studiolo, and cannot show more than ls does",
                feature="show",
            )
        details = client.system.show_model(model)
    if json:
        print_json(details)
        return
    known = details.model
    lines = _facts(known)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name.ljust(width)}  {printable(value)}")
    if known.note is not None:
        print(f"\n{printable(known.note)}")
    if known.fits:
        print("\nIt is a LoRA adapter, which is listed and not loaded.")
    elif known.error is not None:
        print(f"\nIt cannot be used: {printable(known.error)}")
    if details.header:
        print("\nHeader")
        for name, value in sorted(details.header.items()):
            print(printable(f"  {name} = {_one_line(value)}"))
    if details.chat_template is not None:
        print("\nChat template")
        print(printable(details.chat_template, keep="\n\t"))


def import_file(
    file: Annotated[Path, typer.Argument(help="A GGUF file. A shard brings the others along.")],
    user_repo: Annotated[
        str | None,
        typer.Option("--user-repo", help="Where to put it: publisher/name. Default: by its header and name."),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", "-c", help="Copy the file.")] = False,
    hard_link: Annotated[bool, typer.Option("--hard-link", "-L", help="Make a hard link to it.")] = False,
    symbolic_link: Annotated[bool, typer.Option("--symbolic-link", "-l", help="Make a symbolic link to it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
) -> None:
    """Bring a model file into the library. It is moved there, unless an option says otherwise."""
    from ..library.model_import import carry_out, plan_import
    from ..paths import Home
    from .output import fetch_progress, say

    chosen = [name for name, wanted in (("copy", copy), ("hard-link", hard_link)) if wanted]
    chosen += ["symbolic-link"] if symbolic_link else []
    if len(chosen) > 1:
        raise typer.BadParameter("Give one of --copy, --hard-link and --symbolic-link.")
    home = Home.default()
    how: Any = chosen[0] if chosen else "move"
    plan = plan_import(home, file, how, user_repo, _models(home))
    verb = {"move": "move", "copy": "copy", "hard-link": "link", "symbolic-link": "link"}[how]
    if dry_run:
        for source, target in plan.files:
            print(f"would {verb} {source} to {target}")
        return
    with fetch_progress("importing") as progress:
        placed = carry_out(plan, lambda done, total: progress(file.name, done, total))
    model = next((model for model in _models(home) if placed[0] in model.parts), None)
    name = model.key if model else "the projector"
    say(f"{name} is in the library, at {placed[0]}.")
    if model is not None and model.fits:
        say(f"it is a LoRA adapter for {model.fits[0]}, which is listed and not loaded.")


def rm(
    model: Annotated[str, typer.Argument(help="A model in studiolo's own models folder; see studiolo ls.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model from the disk."""
    from ..errors import UsageError
    from ..library.model_import import plan_removal, remove
    from ..paths import Home
    from ..units import size
    from .output import say

    home = Home.default()
    chosen, models = _choose(home, model)
    files = plan_removal(home, chosen, models)
    _refuse_loaded(chosen)
    for file in files:
        print(f"{file}" + (f" (a link to {file.resolve()}, which stays)" if file.is_symlink() else ""), file=sys.stderr)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                f"{chosen.key} was not removed", cause="Nobody is there to be asked", suggestion="Add --yes"
            )
        typer.confirm(f"Remove {chosen.key} ({size(chosen.size_bytes)})?", abort=True, err=True)
    remove(home, files)
    say(f"{chosen.key} is removed.")


def _choose(home: Home, name: str) -> tuple[Model, list[Model]]:
    """The model to remove, and all models. A name that all variants of a model share is not enough."""
    from ..errors import ModelNotFoundError

    async def look() -> tuple[Model, list[Model]]:
        from ..library import Library

        library = Library(home)
        try:
            return (await library.describe(name))[0], await library.models()
        finally:
            await library.close()

    import asyncio

    from ..library.name_resolution import NameIndex

    chosen, models = asyncio.run(look())
    if any(match.model.path == chosen.path and match.key != chosen.key for match in NameIndex(models).matches(name)):
        raise ModelNotFoundError(
            f"{chosen.group} has {len(chosen.variants)} variants",
            cause=f"They are {', '.join(chosen.variants)}",
            suggestion="Give one of these names",
            data={"name": name, "candidates": list(chosen.variants)},
        )
    return chosen, models


def _refuse_loaded(model: Model) -> None:
    """A model that a running server has loaded stays: the server could not load it again."""
    from ..errors import ConnectionFailedError, UsageError
    from ..sdk.sync_client import Client

    try:
        with Client() as client:
            if client.api_host == "embedded":
                return
            loaded = [each for each in _entries(client) if str(model.path) in each.files and each.loaded_as]
    except ConnectionFailedError:
        return
    if loaded:
        name = loaded[0].loaded_as[0]
        raise UsageError(
            f"{model.key} is loaded, as {', '.join(loaded[0].loaded_as)}", suggestion=f"First: studiolo unload {name}"
        )


def _models(home: Home) -> list[Model]:
    import asyncio

    async def look() -> list[Model]:
        from ..library import Library

        library = Library(home)
        try:
            return await library.models()
        finally:
            await library.close()

    return asyncio.run(look())


def _entries(client: Client) -> list[LibraryModel]:
    from ..errors import ProtocolError

    if client.system.info().studiolo is not None:
        with contextlib.suppress(ProtocolError):  # a server of an older version
            return client.system.list_library()
    return [_foreign(model.info) for model in client.list_downloaded_models()]


def _foreign(model: Any) -> LibraryModel:
    """An entry of another program's list in the form of ours."""
    from .. import LibraryModel

    return LibraryModel(
        model_key=model.model_key,
        group=model.model_key,
        variants=model.variants,
        selected=True,
        type=model.__struct_config__.tag,
        format=model.format,
        display_name=model.display_name,
        publisher=model.publisher or "",
        path=model.path,
        files=[],
        origin="path",
        size_bytes=model.size_bytes,
        params_string=model.params_string,
        architecture=model.architecture,
        quantization=model.quantization,
        max_context_length=model.max_context_length,
        vision=getattr(model, "vision", False),
        audio=getattr(model, "audio", False),
        trained_for_tool_use=getattr(model, "trained_for_tool_use", False),
        loaded_as=[],
    )


def _as_group(model: LibraryModel) -> LibraryModel:
    """The entry of a model by its own key, with the figures of the variant that is meant by it."""
    import msgspec

    return msgspec.structs.replace(model, model_key=model.group) if model.variants else model


def _table(models: list[LibraryModel], each_variant: bool, detailed: bool) -> tuple[list[str], list[list[str]]]:
    from ..units import size

    columns = ["MODEL", "PARAMS", "QUANT", "ARCH", "CONTEXT", "SIZE"]
    rows = [
        [
            model.model_key,
            model.params_string or "-",
            model.quantization.name if model.quantization else (model.variant or "-").upper(),
            model.architecture or "-",
            str(model.max_context_length or "-"),
            size(model.size_bytes),
        ]
        for model in models
    ]
    several = any(model.variants for model in models)
    if several and each_variant:
        columns.append("DEFAULT")
        for row, model in zip(rows, models, strict=True):
            row.append("yes" if model.selected and model.variants else "-")
    elif several:
        columns.append("VARIANTS")
        for row, model in zip(rows, models, strict=True):
            row.append(str(len(model.variants or [1])))
    if detailed:
        columns += ["TYPE", "ABILITIES", "LOADED", "FROM", "FILE"]
        for row, model in zip(rows, models, strict=True):
            abilities = ["vision"] * model.vision + ["audio"] * model.audio + ["tools"] * model.trained_for_tool_use
            abilities += ["decisions"] * bool(model.decides)
            row += [
                model.type or "-",
                ",".join(abilities) or "-",
                ",".join(model.loaded_as) or "-",
                _owner(model),
                model.files[0] if model.files else model.path,
            ]
    return columns, rows


def _owner(model: LibraryModel) -> str:
    """Whose a model is: studiolo's, another program's, or the user's own."""
    from ..library.other_programs import PROGRAM_NAMES

    names = {**PROGRAM_NAMES, "home": "studiolo"}
    return names.get(model.origin, "folder")


def _facts(model: LibraryModel) -> list[tuple[str, str]]:
    from ..units import size

    def known(value: object) -> str:
        return "-" if value is None or value == "" else str(value)

    facts = [("Model", model.model_key)]
    if model.variants:
        others = ", ".join(model.variants)
        facts.append(("Variant of", f"{model.group} ({others})" + (", its default" if model.selected else "")))
    facts += [
        ("Name", model.display_name),
        ("Publisher", known(model.publisher)),
        ("Type", known(model.type)),
        ("Architecture", known(model.architecture)),
        ("Parameters", f"{model.parameter_count:,} ({model.params_string})" if model.parameter_count else "-"),
        ("Quantisation", known(model.quantization.name if model.quantization else model.variant)),
        ("Context", f"{model.max_context_length:,} tokens" if model.max_context_length else "-"),
        ("Layers", known(model.block_count)),
        ("Vision", "yes" if model.vision else "no"),
        ("Audio", "yes" if model.audio else "no"),
        ("Tools", "yes" if model.trained_for_tool_use else "no"),
        ("Decisions", "yes" if model.decides else "no"),
        ("Size", f"{size(model.size_bytes)} ({model.size_bytes:,} bytes)"),
        ("From", _owner(model)),
        *(("File", file) for file in model.files),
    ]
    if model.fits:
        facts.append(("Fits", ", ".join(model.fits)))
    if model.adapters:
        facts.append(("LoRA adapters", ", ".join(model.adapters)))
    if model.mmproj is not None:
        facts.append(("Projector", model.mmproj))
    if model.loaded_as:
        facts.append(("Loaded as", ", ".join(model.loaded_as)))
    return facts


def _one_line(value: object) -> str:
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text):,} characters)"
