"""The commands about the conversation: its branches, its questions, its files."""

from __future__ import annotations

from pathlib import Path

from ...errors import StoreError, StudioloError, UsageError
from ...store.conversation import Conversation, title_of
from ..output import printable
from .commands import Command
from .context import ChatContext
from .files import read_export, write_export
from .inputs import attach
from .journal import Journal
from .model_commands import use_model, use_tools_again
from .terminal import edited


def _image(chat: ChatContext, name: str) -> None:
    _attach(chat, name, as_image=True)


def _file(chat: ChatContext, name: str) -> None:
    _attach(chat, name, as_image=False)


def _attach(chat: ChatContext, name: str, *, as_image: bool) -> None:
    if name:
        path = Path(unquoted(name))
        chat.attachments.append(attach(chat.session.client, chat.session.images, path, as_image=as_image))
    names = ", ".join(each.name for each in chat.attachments)
    chat.terminal.note(f"The next question takes along: {names or 'nothing'}.")


def unquoted(name: str) -> str:
    """Return the path of a file without the quotes and backslashes that terminals add when it is dropped on them."""
    if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"":
        return name[1:-1]
    return name.replace("\\ ", " ")


def _undo(chat: ChatContext, _: str) -> None:
    question = chat.session.undo()
    chat.terminal.note(f"Taken back: {title_of(question.text)}")


def _retry(chat: ChatContext, _: str) -> None:
    chat.answer(chat.session.retry)


def _branch(chat: ChatContext, number: str) -> None:
    branches = chat.session.tree.branches()
    if number:
        if not number.isdecimal() or not 1 <= int(number) <= len(branches):
            raise UsageError(f"There is no branch {number!r}", suggestion="/branch lists the branches.")
        chat.session.change(head=branches[int(number) - 1][-1].id)
        chat.show_branch()
        return
    head = chat.session.conversation.head
    for place, path in enumerate(branches, 1):
        mark = "*" if any(message.id == head for message in path) else " "
        texts = [title_of(message.text) for message in path if message.text.strip()]
        chat.terminal.show(f"{mark}{place:3}  {len(path)} messages, the last: {texts[-1] if texts else '-'}")
    if not branches:
        chat.terminal.show("There are no messages yet.")


def _save(chat: ChatContext, name: str) -> None:
    conversation, tree = chat.session.conversation, chat.session.tree
    if name:
        write_export(Path(unquoted(name)), conversation, tree)
        chat.terminal.note(f"The conversation is in {name}.")
    elif chat.session.recorder.records and len(tree):
        chat.terminal.note(f"Stored as {conversation.id}: studiolo chat --conversation {conversation.id}")
    else:
        chat.terminal.note("This conversation is not stored. /save FILE writes it to a file, .md or .json.")


def _load(chat: ChatContext, name: str) -> None:
    if not name:
        for each in _journal(chat).list(20):
            chat.terminal.show(f"{each.id}  {each.title}")
        return
    path = Path(unquoted(name)).expanduser()
    if path.suffix.lower() == ".json" or path.is_file():
        conversation, tree = read_export(path)
    else:
        conversation, tree = _journal(chat).get(name)
    chat.session.take_up(conversation, tree)
    take_up(chat)


def _journal(chat: ChatContext) -> Journal:
    if chat.journal is None:
        raise StoreError(
            "This chat does not read the stored conversations",
            cause="It was started with --no-store, or they cannot be opened",
            suggestion="/load FILE continues one that was saved as .json.",
        )
    return chat.journal


def take_up(chat: ChatContext) -> None:
    """Show the conversation that is continued, with its model and its tools.

    Where its model cannot be used, an error is shown, and the one before it answers.
    """
    conversation, llm = chat.session.conversation, chat.session.llm
    chat.show_branch()
    if not chat.session.is_answered:
        chat.terminal.note("The last question has no answer: /retry asks again.")
    if llm is not None and conversation.model is None:
        chat.session.use(llm)
    elif llm is None:
        use_model(chat, conversation.model)
    elif (current := llm.get_info().model_key) != conversation.model:
        try:
            use_model(chat, conversation.model)
        except StudioloError as error:
            chat.terminal.error(str(error))
            chat.session.use(llm)
            chat.terminal.note(f"{printable(current)} answers.")
    use_tools_again(chat)


def _new(chat: ChatContext, _: str) -> None:
    old = chat.session.conversation
    new = Conversation(model=old.model, system_prompt=old.system_prompt, settings=old.settings, tools=old.tools)
    chat.session.take_up(new)
    chat.attachments = []
    chat.terminal.note("A new conversation begins, with the same model and settings.")


def _title(chat: ChatContext, title: str) -> None:
    if title:
        chat.session.change(title=title_of(title))
    chat.terminal.show(chat.session.conversation.title or "This conversation has no title yet.")


def _show(chat: ChatContext, _: str) -> None:
    chat.show_branch()


def _edit(chat: ChatContext, text: str) -> None:
    question = edited(text)
    if question.strip():
        chat.terminal.show(f">>> {question}")
        chat.ask(question)


def _bye(chat: ChatContext, _: str) -> None:
    chat.has_ended = True


COMMANDS = (
    Command(("image",), "[FILE]", "Attach an image to the next question.", _image),
    Command(("file",), "[FILE]", "Attach a document: text, PDF, DOCX, HTML.", _file),
    Command(("undo",), "", "Take the last question and its answer back.", _undo),
    Command(("retry",), "", "Answer the last question again, in a branch of its own.", _retry),
    Command(("branch",), "[NUMBER]", "List the branches, or continue another one.", _branch),
    Command(("save",), "[FILE]", "Show the id, or write the conversation to a .md or .json.", _save),
    Command(("load",), "[ID|FILE]", "List the conversations, or continue one.", _load),
    Command(("new", "clear"), "", "Begin a new conversation with the same settings.", _new),
    Command(("title",), "[TEXT]", "Show or change the title of this conversation.", _title),
    Command(("show",), "", "Show this conversation.", _show),
    Command(("edit",), "", "Write a question in the editor of EDITOR.", _edit),
    Command(("bye", "exit", "quit"), "", "End the chat; Ctrl-D does, too.", _bye),
)
