"""The command ``studiolo chat``: its options, and what each begins."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ...store.conversation import Conversation, MessageTree
    from .journal import Journal


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    model: Annotated[str | None, typer.Argument(help="Which model; see studiolo ls.")] = None,
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", help="Print the answer to this, and end. A pipe is added to it.")
    ] = None,
    system: Annotated[str | None, typer.Option("-s", "--system", help="Instructions for the model.")] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="A preset of config.toml; --system and --set change it.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A prediction setting; may be given again."),
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="An image for the first question; may be given again.")
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="A document for the first question; may be given again.")
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVER", help="Let it call the tools of an MCP server of mcp.json; may be given again."),
    ] = None,
    last: Annotated[bool, typer.Option("-c", "--continue", help="Continue the last conversation.")] = False,
    conversation: Annotated[
        str | None, typer.Option(metavar="ID", help="Continue this conversation; see studiolo chats.")
    ] = None,
    store: Annotated[bool, typer.Option("--store/--no-store", help="Whether the conversation is stored.")] = True,
    schema: Annotated[Path | None, typer.Option(help="With one answer: a file with its JSON schema.")] = None,
    json: Annotated[bool, typer.Option("--json", help="With one answer: print one JSON object.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print statistics after each answer.")] = False,
    show_reasoning: Annotated[
        bool, typer.Option("--show-reasoning", help="Print the reasoning of models that reason.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Append text as it comes, without colour and redrawing: for screen readers.")
    ] = False,
    ttl: Annotated[int | None, typer.Option(help="Unload the model after so many idle seconds. Default: 3600.")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A server, or embedded. Default: one that runs, or embedded.")
    ] = None,
) -> None:
    """Chat with a model."""
    is_one = prompt is not None or not sys.stdin.isatty()
    if not is_one and (json or schema is not None):
        raise typer.BadParameter("Give a question, too: -p PROMPT.", param_hint="--json and --schema")
    if last and conversation is not None:
        raise typer.BadParameter("Give one of them.", param_hint="--continue and --conversation")

    from ...chats.settings import with_setting
    from ...errors import ConfigError
    from ...paths import Home
    from ...sdk.sync_client import Client
    from ...settings import read_settings
    from ..instances import setting_in
    from ..output import say
    from ..standard_streams import decoded
    from .inputs import attach, attached
    from .interactive import chat_in_terminal
    from .journal import Recorder
    from .model_choice import open_model
    from .one_answer import OneAnswer, announced, print_one_answer, read_question, read_schema
    from .session import ChatSession
    from .tools import ChatTools

    form = read_schema(schema) if schema is not None else None
    question, piped_file = read_question(prompt) if is_one else ("", None)
    if is_one and not (question or piped_file or image or file):
        raise ConfigError("There is no question", suggestion="Give one by -p, or on standard input.")
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(_journal(store, needed=last or conversation is not None))
        begun = _begun(journal, last, conversation)
        client = stack.enter_context(Client(host))
        session = ChatSession(client, Recorder(journal if store else None, say), *begun)
        if preset is not None:
            session.use_preset(read_settings(Home.default().settings).preset(preset))
        if system is not None:
            session.change(system_prompt=decoded(system, "The system prompt"))
        for name, value in map(setting_in, settings or []):
            session.configure(with_setting(session.config, name, value))
        attachments = [attach(client, session.images, path, as_image=True) for path in image or []]
        attachments += [attach(client, session.images, path, as_image=False) for path in file or []]
        name = model or session.conversation.model
        if not is_one:
            if tools:
                session.change(tools=tools)
            chat_in_terminal(
                session,
                journal,
                attachments,
                name,
                plain=plain,
                stats=stats,
                show_reasoning=show_reasoning,
                ttl=ttl,
            )
            return
        if piped_file is not None:
            attachments.append(attached(client, session.images, "standard input", piped_file))
        if tools:
            session.tools = stack.enter_context(contextlib.closing(ChatTools(announced)))
            session.tools.use(tools)
        session.use(open_model(client, name, ttl=ttl, plain=plain))
        wanted = OneAnswer(schema=form, as_json=json, stats=stats, show_reasoning=show_reasoning)
        print_one_answer(session, question, attachments, wanted)


@contextlib.contextmanager
def _journal(store: bool, *, needed: bool) -> Generator[Journal | None]:
    """Open the stored conversations; ``None`` where they are not wanted, or not needed and cannot be opened."""
    from ...errors import ConfigError, LocalFileError
    from ..output import say
    from .journal import stored_conversations

    with contextlib.ExitStack() as stack:
        journal = None
        if store or needed:
            try:
                journal = stack.enter_context(stored_conversations())
            except (ConfigError, LocalFileError) as error:
                if needed:
                    raise
                say(f"this conversation is not stored. {error}")
        yield journal


def _begun(journal: Journal | None, last: bool, conversation: str | None) -> tuple[Conversation, MessageTree]:
    from ...store.conversation import Conversation, MessageTree

    if journal is not None and last:
        return journal.newest()
    if journal is not None and conversation is not None:
        return journal.get(conversation)
    return Conversation(), MessageTree()
