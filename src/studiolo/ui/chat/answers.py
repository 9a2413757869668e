"""An answer that comes. It belongs to the server, not to a page: a page can be closed, and opened again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ...chats.model_messages import as_chat, images_of
from ...chats.partial_answer import MAX_ROUNDS, REFUSED, PartialAnswer
from ...domain.chat import Image, ToolCall, ToolResult
from ...errors import ConfigError
from ...message_shapes import read_message
from ...sdk.async_models import AsyncLLM
from ...sdk.mcp import mcp_tools
from ...sdk.tools import BoundTool
from ...store.conversation import ConversationMessage
from ..backend import backend

if TYPE_CHECKING:
    from .live import LiveConversation


@dataclass
class PendingCall:
    """A call of a tool that waits for the user's permission.

    Parameters:
        name: the tool's.
        arguments: those of the call.
        allowed: whether the call is made, when the user has answered.
    """

    name: str
    arguments: dict[str, Any]
    allowed: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def decide(self, allowed: bool) -> None:
        """Make the call, or refuse it."""
        if not self.allowed.done():
            self.allowed.set_result(allowed)


class Answer:
    """The answer to the last message of a conversation, from the load of the model to the end.

    Parameters:
        live: the conversation.
        on_end: called at the end, with the error if it failed.

    Attributes:
        status: what is happening before the text comes.
        partial: the text so far.
        calls: those that wait for the user.
    """

    def __init__(self, live: LiveConversation, on_end: Callable[[Exception | None], None]) -> None:
        self.status = "Loading the model"
        self.partial = PartialAnswer()
        self.calls: list[PendingCall] = []
        self._live = live
        self._on_end = on_end
        self._always: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self._task = asyncio.create_task(self._run(), name="answer a conversation")

    def stop(self) -> None:
        """Stop; what there is of the text is kept."""
        self._task.cancel()

    async def ended(self) -> None:
        """Wait for the end."""
        await asyncio.wait([self._task])

    def allow_always(self, call: PendingCall) -> None:
        """Make a call, and all further ones of this tool in this answer."""
        self._always.add(call.name)
        call.decide(True)

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            await self._predict()
        except asyncio.CancelledError:
            self._keep_cut("userStopped")
        except Exception as failure:
            self._keep_cut("failed")
            error = failure
        finally:
            for call in self.calls:
                call.decide(False)
            self._on_end(error)

    def _keep_cut(self, stop_reason: str) -> None:
        if (message := self.partial.cut(stop_reason)) is not None:
            self._live.keep(message)

    async def _predict(self) -> None:
        conversation = self._live.conversation
        config = self._live.config
        client = backend().client
        llm = await client.llm.model(
            conversation.model,
            on_load_progress=lambda done: self._say(f"Loading the model: {done:.0%}"),
            on_fetching=lambda each: self._say(f"Downloading {each.model_key}: {_share(each)}"),
        )
        if conversation.model is None:
            self._live.change(model=(await llm.get_info()).model_key)
        self._say("Reading the prompt")
        branch = self._live.branch
        handles = {id(image): await client.files.prepare_image(image.data, image.name) for image in images_of(branch)}

        def handle(image: Image) -> Any:
            return handles[id(image)]

        chat = as_chat(branch, conversation.system_prompt, handle)
        if conversation.tools:
            if not backend().may_use_mcp_json(self._live.owner):
                raise ConfigError(
                    "Sessions of API tokens may not use the servers of mcp.json",
                    suggestion="Set server.mcp_json in config.toml, or choose no tools.",
                )
            self._say("Connecting to the tools")
            async with mcp_tools(conversation.tools) as tools:
                await self._act(llm, chat, config, [*tools.values()])
            return
        async with llm.respond_stream(chat, config=config, on_prompt_processing_progress=self._reading) as stream:
            async for fragment in stream:
                self._take(fragment)
            result = stream.result()
        self._live.keep(self.partial.completed(result))

    async def _act(self, llm: AsyncLLM, chat: Any, config: Any, tools: list[BoundTool]) -> None:
        results: list[Any] = []

        def add(message: Any) -> None:
            (read,) = read_message(message, "the answer")
            if read.role == "assistant":
                calls = [part for part in read.parts if isinstance(part, ToolCall)]
                self._live.keep(self.partial.completed(results[-1], calls))
            else:
                parts: list[Any] = [part for part in read.parts if isinstance(part, ToolResult)]
                self._live.keep(ConversationMessage(role="tool", parts=parts))

        is_required = config.tool_choice == "required"  # of the first prediction; of all, there would be no answer
        await llm.act(
            chat,
            [replace(tool, call=self._guarded(tool)) for tool in tools],
            config=structs.replace(config, tool_choice=None) if is_required else config,
            tool_choice="required" if is_required else "auto",
            max_prediction_rounds=MAX_ROUNDS,
            on_prompt_processing_progress=lambda done, _: self._reading(done),
            on_prediction_fragment=lambda fragment, _: self._take(fragment),
            on_prediction_completed=results.append,
            on_message=add,
        )

    def _guarded(self, tool: BoundTool) -> Callable[..., Awaitable[Any]]:
        async def call(**arguments: Any) -> Any:
            async with self._one_at_a_time:
                if tool.name not in self._always:
                    pending = PendingCall(tool.name, arguments)
                    self.calls.append(pending)
                    self._say("Waiting for your permission")
                    try:
                        allowed = await pending.allowed
                    finally:
                        with contextlib.suppress(ValueError):
                            self.calls.remove(pending)
                    if not allowed:
                        self._say("")
                        return REFUSED
            self._say(f"Calling {tool.name}")
            return await tool.call(**arguments)

        return call

    def _take(self, fragment: Any) -> None:
        if self.partial.take(fragment) is not None:
            self._say("")

    def _reading(self, done: float) -> None:
        self._say(f"Reading the prompt: {done:.0%}" if 0 < done < 1 else "Reading the prompt")

    def _say(self, status: str) -> None:
        self.status = status
        self._live.changed()


def _share(fetching: Any) -> str:
    done, total = fetching.downloaded_bytes, fetching.total_bytes
    return f"{done / total:.0%}" if total else f"{done / 1e6:.0f} MB"
