"""A conversation under way: what is asked, answered, taken back and asked again. Nothing of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ...chats.model_messages import as_chat
from ...chats.settings import with_preset
from ...config import PredictionConfig, prediction_config
from ...domain.chat import Text
from ...errors import UsageError
from ...sdk.prediction import PredictionResult
from ...sdk.sync_client import Client
from ...sdk.sync_models import LLM
from ...store.conversation import Conversation, ConversationMessage, ConversationPart, MessageTree, title_of
from .answering import answer
from .images import Images
from .interrupts import interrupts_wait
from .journal import Recorder
from .listener import Listener
from .tools import ChatTools


class ChatSession:
    """A conversation and the model that answers in it.

    Parameters:
        client: of the host.
        recorder: writes the conversation.
        conversation, tree: the conversation and its messages.
    """

    def __init__(
        self, client: Client, recorder: Recorder, conversation: Conversation, tree: MessageTree | None = None
    ) -> None:
        self.client = client
        self.recorder = recorder
        self.images = Images(client)
        self.tools: ChatTools | None = None
        self.llm: LLM | None = None
        self.take_up(conversation, tree)

    def take_up(self, conversation: Conversation, tree: MessageTree | None = None) -> None:
        """Continue another conversation. Raise :class:`ConfigError` if its settings are none."""
        self.config: PredictionConfig = prediction_config(conversation.settings)
        self.conversation = conversation
        self.tree = tree or MessageTree()

    @property
    def branch(self) -> list[ConversationMessage]:
        """The messages of the branch that is continued."""
        return self.tree.path(self.conversation.head)

    @property
    def is_answered(self) -> bool:
        """Whether the last message is not a question."""
        branch = self.branch
        return not branch or branch[-1].role != "user"

    def use(self, llm: LLM) -> None:
        """Have ``llm`` answer from now on."""
        self.llm = llm
        self.change(model=llm.get_info().model_key)

    def configure(self, config: PredictionConfig) -> None:
        """Use other prediction settings from now on."""
        self.config = config
        self.change(settings=config.to_dict())

    def use_preset(self, preset: PredictionConfig) -> None:
        """Use what a preset sets from now on: its settings, and its system prompt if it has one."""
        self.configure(with_preset(self.config, preset))
        if preset.system_prompt is not None:
            self.change(system_prompt=preset.system_prompt)

    def change(self, **fields: Any) -> None:
        """Change fields of the conversation, and write it if it has messages."""
        with interrupts_wait():
            self.conversation = replace(self.conversation, **fields)
            if len(self.tree):
                self.recorder.save(self.conversation)

    def ask(
        self, parts: Sequence[ConversationPart], listener: Listener, response_format: Any = None
    ) -> PredictionResult[Any]:
        """Add a question and return the result of its answer. A question before it that has no answer is replaced.

        Raises:
            KeyboardInterrupt: the answer was stopped; what there is of it is kept.
            StudioloError: it failed.
        """
        branch = self.branch
        parent = branch[-1].parent if branch and not self.is_answered else self.conversation.head
        question = ConversationMessage(parent=parent, role="user", parts=[*parts])
        if not self.conversation.title:
            texts = [part.text for part in parts if isinstance(part, Text)]
            self.conversation = replace(self.conversation, title=title_of(" ".join(texts)))
        self._add(question)
        return self._answer(listener, response_format)

    def retry(self, listener: Listener) -> PredictionResult[Any]:
        """Answer the last question again, in a branch of its own. Raises as :meth:`ask`, and :class:`UsageError`."""
        self.change(head=self._question().id)
        return self._answer(listener)

    def undo(self) -> ConversationMessage:
        """Go back to before the last question and return it. Raise :class:`UsageError` where there is none."""
        question = self._question()
        self.change(head=question.parent)
        return question

    def _question(self) -> ConversationMessage:
        question = self.tree.question(self.conversation.head)
        if question is None:
            raise UsageError("There is no question yet in this conversation")
        return question

    def _answer(self, listener: Listener, response_format: Any = None) -> PredictionResult[Any]:
        if self.llm is None:
            raise UsageError("No model is chosen", suggestion="Choose one: /model NAME")
        chat = as_chat(self.branch, self.conversation.system_prompt, self.images.handle)
        return answer(self.llm, chat, self.config, self.tools, listener, self._keep, response_format)

    def _keep(self, message: ConversationMessage) -> None:
        if message.role == "assistant" and message.model is None:
            message = replace(message, model=self.conversation.model)
        self._add(replace(message, parent=self.conversation.head))

    def _add(self, message: ConversationMessage) -> None:
        with interrupts_wait():
            self.tree.add(message)
            self.conversation = replace(self.conversation, head=message.id, updated=message.created)
            self.recorder.add(self.conversation, self.branch)
