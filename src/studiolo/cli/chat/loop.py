"""The chat in the terminal: questions and commands, one after the other, until the end of the input."""

from __future__ import annotations

from ...errors import StudioloError
from . import conversation_commands, model_commands
from .commands import Command, found, help_text, is_command
from .context import ChatContext
from .model_choice import choose_model


def _help(chat: ChatContext, _: str) -> None:
    chat.terminal.show(help_text(COMMANDS))


COMMANDS = (
    *model_commands.COMMANDS,
    *conversation_commands.COMMANDS,
    Command(("help", "?"), "", "List the commands.", _help),
)


def begin(chat: ChatContext, model: str | None) -> None:
    """Choose and load the model, and show a conversation that is continued. Raises where that fails."""
    if model is None:
        model = choose_model(chat.session.client, chat.terminal.ask, chat.terminal.show)
    model_commands.use_model(chat, model)
    if len(chat.session.tree):
        conversation_commands.take_up(chat)
    else:
        model_commands.use_tools_again(chat)
    chat.terminal.note("/help lists the commands. Ctrl-C stops an answer, Ctrl-D ends the chat.")


def run(chat: ChatContext) -> None:
    """Read and answer until the user ends the chat."""
    while not chat.has_ended:
        try:
            line = chat.terminal.read()
        except EOFError:
            break
        except KeyboardInterrupt:
            chat.terminal.note("(Ctrl-D ends the chat.)")
            continue
        handle(chat, line)
    if chat.session.recorder.records and len(chat.session.tree):
        chat.terminal.note(
            f"Continue this conversation with: studiolo chat -c, or /load {chat.session.conversation.id}"
        )


def handle(chat: ChatContext, line: str) -> None:
    """Do what a line says: a command, or a question."""
    try:
        if is_command(line.lstrip()):
            command, argument = found(COMMANDS, line.strip())
            command.run(chat, argument)
        elif line.strip() in ("exit", "quit"):
            chat.has_ended = True
        elif line.strip() or chat.attachments:
            chat.ask(line)
    except StudioloError as error:
        chat.terminal.error(str(error))
    except (KeyboardInterrupt, EOFError):
        chat.terminal.note("(stopped)")
