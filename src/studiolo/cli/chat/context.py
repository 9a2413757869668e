"""What the commands of a chat work on: the conversation, the terminal, and what the next question takes along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...chats.stats_line import summary
from ...domain.chat import Text
from ...errors import StudioloError
from ...sdk.prediction import PredictionResult
from ...store.conversation import ConversationMessage
from .inputs import Attachment, question_parts
from .journal import Journal
from .listener import Listener
from .session import ChatSession
from .terminal import Terminal
from .tools import ChatTools


@dataclass
class ChatContext:
    """A chat in a terminal.

    Parameters:
        session: the conversation and its model.
        journal: the stored conversations; ``None`` where they cannot be read.
        terminal: where the user is.
        tools: the tools that the model may call.
        stats: print the statistics after each answer.
        plain: do not redraw anything.
        ttl: seconds of idleness after which a model that is loaded is unloaded.
        attachments: files for the next question.
        draft: what the user has begun to write in an editor.
        has_ended: the user has ended the chat.
    """

    session: ChatSession
    journal: Journal | None
    terminal: Terminal
    tools: ChatTools
    stats: bool = False
    plain: bool = False
    ttl: int | None = None
    attachments: list[Attachment] = field(default_factory=list[Attachment])
    has_ended: bool = False

    def ask(self, question: str) -> None:
        """Ask the model and show its answer; the files that were attached go along."""

        def begin(listener: Listener) -> PredictionResult[Any]:
            assert self.session.llm is not None
            parts = question_parts(self.session.client, self.session.llm, self.attachments, question)
            self.attachments = []
            return self.session.ask(parts, listener)

        self.answer(begin)

    def answer(self, begin: Callable[[Listener], PredictionResult[Any]]) -> None:
        """Show an answer. Ctrl-C stops it; an error is shown."""
        if self.session.llm is None:
            self.terminal.error("No model is chosen. Choose one: /model NAME")
            return
        try:
            result = begin(self.terminal.listener())
        except KeyboardInterrupt:
            self.terminal.note("(stopped; /retry asks again)")
        except StudioloError as error:
            self.terminal.error(str(error))
        else:
            if result.stats.stop_reason not in ("eosFound", "stopStringFound"):
                self.terminal.note(f"(ended: {result.stats.stop_reason})")
            if self.stats and (line := self.stats_line()) is not None:
                self.terminal.note(line)

    def stats_line(self) -> str | None:
        """Return the statistics of the last answer in one line."""
        last = self.last_answer()
        return summary(last.model, last.stats) if last is not None and last.stats else None

    def last_answer(self) -> ConversationMessage | None:
        """Return the last message of the model on this branch."""
        return next((each for each in reversed(self.session.branch) if each.role == "assistant"), None)

    def show_branch(self) -> None:
        """Print the messages of the branch that is continued."""
        for message in self.session.branch:
            if message.role == "user":
                names = [str(getattr(part, "name", "")) for part in message.parts if not isinstance(part, Text)]
                self.terminal.show(f"\n>>> {message.text}" + (f"  [{', '.join(names)}]" if names else ""))
            elif message.role == "assistant" and message.text.strip():
                self.terminal.markdown(message.text)
                if message.stop_reason == "userStopped":
                    self.terminal.note("(stopped)")
