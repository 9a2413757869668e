"""``studiolo chats``: the stored conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

chats = typer.Typer(help="List, show, delete and export conversations.", invoke_without_command=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it; see studiolo chats.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(chats, name="chats")


@chats.callback()
def default(context: typer.Context) -> None:
    """List, show, delete and export conversations; without a command, list them."""
    if context.invoked_subcommand is None:
        list_()


@chats.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="Conversations at most, the last changed first.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    search: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Only those with a message that has all of these words.")
    ] = None,
) -> None:
    """List the conversations."""
    import datetime

    from .chat.journal import stored_conversations
    from .output import print_json, print_table, say

    excerpts: list[str] = []
    with stored_conversations() as journal:
        if search is None:
            found = journal.list(limit)
        else:
            matches, is_complete = journal.search(search, limit)
            if not is_complete:
                say("not all conversations could be searched: only those that were changed last.")
            found, excerpts = [each.conversation for each in matches], [each.excerpt for each in matches]
    if json and search is not None:
        print_json([{"conversation": each, "excerpt": text} for each, text in zip(found, excerpts, strict=True)])
    elif json:
        print_json(found)
    elif not found and search is not None:
        say("no message has all of these words.")
    elif not found:
        say("there is no conversation yet. Begin one with: studiolo chat")
    else:
        times = [datetime.datetime.fromtimestamp(each.updated).astimezone() for each in found]
        rows = [
            (each.id, f"{time:%Y-%m-%d %H:%M}", each.model or "-", each.title)
            for each, time in zip(found, times, strict=True)
        ]
        if search is not None:
            rows = [(*row, text) for row, text in zip(rows, excerpts, strict=True)]
            print_table(("ID", "CHANGED", "MODEL", "TITLE", "MESSAGE"), rows)
            return
        print_table(("ID", "CHANGED", "MODEL", "TITLE"), rows)


@chats.command()
def show(conversation: IdArgument) -> None:
    """Print a conversation as Markdown."""
    export(conversation, "markdown", None)


@chats.command()
def delete(
    conversations: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Ids of conversations; see studiolo chats.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete every conversation.")] = False,
) -> None:
    """Delete conversations with all their messages."""
    from .chat.journal import stored_conversations
    from .output import say

    if (not conversations) != everything:
        raise typer.BadParameter("Give the ids of conversations, or --all.")
    count = 0
    with stored_conversations() as journal:
        for each in [journal.get(each)[0] for each in conversations or []]:
            count += journal.delete(each.id)
        while everything and (more := journal.list(100)):
            count += sum([journal.delete(each.id) for each in more])
    say(f"{count} conversation{'s are' if count != 1 else ' is'} deleted.")


@chats.command()
def export(
    conversation: IdArgument,
    format: Annotated[
        Literal["markdown", "json"] | None,
        typer.Option("-f", "--format", help="markdown: the branch that is continued; json: all. Default: the file's."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file. Default: standard output.")] = None,
) -> None:
    """Export a conversation as Markdown, or as JSON with all its branches, which /load reads."""
    from .chat.files import exported, write_export
    from .chat.journal import stored_conversations
    from .output import printable, say

    with stored_conversations() as journal:
        found, tree = journal.get(conversation)
    if output is not None:
        write_export(output, found, tree, format)
        say(f"{printable(found.title or found.id)} is exported to {output}.")
    else:
        print(exported(found, tree, format or "markdown"), end="")
