"""The output of a response as it grows, and the events that show it, in the order of OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...domain.generation import TokenLogProbs
from ...mcp.connections import McpTool
from ..http.gathered import AnswerText, CallArguments, CallBegun, CallEnded, CallText, Gathered, Piece, Thought
from ..http.tool_servers import Answered
from .logprobs import chat_logprobs
from .responses_items import (
    CustomCallItem,
    FunctionCallItem,
    Ids,
    Item,
    ItemStatus,
    McpApprovalItem,
    McpCallItem,
    McpListItem,
    MessageItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    sealed,
)
from .responses_tools import Offered, free_text

Event = dict[str, Any]


class Output:
    """The items of an answer.

    Parameters:
        items: what there is of them; each is changed as it grows.
        ids: makes their ids.
        offered: the tools that may be called.
        top_logprobs: the likeliest tokens that are listed for each of the text; ``None`` for no log-probabilities.
        seals: whether reasoning is given as ``encrypted_content`` as well.
    """

    def __init__(
        self, items: list[Item], ids: Ids, offered: Offered, top_logprobs: int | None = None, seals: bool = False
    ) -> None:
        self._items = items
        self._ids = ids
        self._offered = offered
        self._top_logprobs = top_logprobs
        self._seals = seals
        self._open: Item | None = None
        self._texts: list[str] = []
        self._space: list[AnswerText] = []
        self._calls: dict[str, int] = {}
        """The calls that the server makes, by the model's ids: which items they are."""

    def add(self, piece: Piece) -> Iterator[Event]:
        """Take what a model has put out next. Yield the events that show it."""
        match piece:
            case AnswerText(text):
                if not isinstance(self._open, MessageItem) and not text.strip():
                    self._space.append(piece)  # there may be no text, but a call
                else:
                    yield from self._add_text(piece)
            case Thought(text):
                yield from self._add_thought(text)
            case CallBegun(_, call_id, name):
                yield from self._begin_call(call_id, name)
            case CallArguments(_, text):
                if isinstance(self._open, FunctionCallItem):
                    yield self._event("response.function_call_arguments.delta", delta=text)
                elif isinstance(self._open, McpCallItem):
                    yield self._event("response.mcp_call_arguments.delta", delta=text)
            case CallEnded(_, call):
                yield from self._end_call(call, "incomplete" if call.call is None else "completed")

    def end(self, answer: Gathered, is_cut: bool) -> Iterator[Event]:
        """End the answer. Yield the events that show it.

        Parameters:
            answer: all that the model has put out.
            is_cut: whether the answer was cut off.
        """
        if isinstance(self._open, FunctionCallItem | CustomCallItem | McpCallItem | McpApprovalItem):
            yield from self._end_call(answer.calls[-1], "incomplete")
        for index in self._calls.values():
            item = self._items[index]
            if isinstance(item, McpCallItem):
                item.status = "incomplete"
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        self._calls = {}
        if self._space and not self._items:
            yield from self._add_text(AnswerText("", ()))
        if not self._items:
            yield from self._begin_message()
        yield from self._end_text("incomplete" if is_cut else "completed")

    def _add_text(self, piece: AnswerText) -> Iterator[Event]:
        if not isinstance(self._open, MessageItem):
            yield from self._begin_message()
        pieces, self._space = [*self._space, piece], []
        for each in pieces:
            if each.text:
                self._texts.append(each.text)
                logprobs = self._logprobs(each.logprobs)
                self._part().logprobs += logprobs
                yield self._event("response.output_text.delta", content_index=0, delta=each.text, logprobs=logprobs)

    def _begin_message(self) -> Iterator[Event]:
        yield from self._begin(MessageItem(id=self._ids.item("message")))
        yield self._event("response.content_part.added", content_index=0, part=OutputText())
        self._part()

    def _part(self) -> OutputText:
        assert isinstance(self._open, MessageItem)
        if not self._open.content:
            self._open.content.append(OutputText())
        return self._open.content[0]

    def _add_thought(self, text: str) -> Iterator[Event]:
        if not isinstance(self._open, ReasoningItem):
            yield from self._begin(ReasoningItem(id=self._ids.item("reasoning")))
            yield self._event("response.content_part.added", content_index=0, part=ReasoningText())
        self._texts.append(text)
        yield self._event("response.reasoning_text.delta", content_index=0, delta=text)

    def _begin_call(self, call_id: str, name: str) -> Iterator[Event]:
        self._space = []
        if (tool := self._offered.servers.tools.get(name)) is not None:
            yield from self._begin_mcp(tool, call_id, self._offered.servers.needs_approval(name))
            return
        origin = self._offered.origin(name)
        kind = CustomCallItem if origin.is_custom else FunctionCallItem
        item = kind(
            id=self._ids.item("custom_tool_call" if origin.is_custom else "function_call"),
            call_id=call_id,
            name=origin.name,
        )
        if origin.namespace is not None:
            item.namespace = origin.namespace
        yield from self._begin(item)

    def _begin_mcp(self, tool: McpTool, call_id: str, needs_approval: bool) -> Iterator[Event]:
        label, name = tool.server, tool.name
        if needs_approval:  # it is shown when it is whole
            yield from self._end_text("completed")
            self._open = McpApprovalItem(id=self._ids.item("mcp_approval_request"), server_label=label, name=name)
            return
        yield from self._begin(McpCallItem(id=self._ids.item("mcp_call"), server_label=label, name=name))
        self._calls[call_id] = len(self._items) - 1
        yield self._event("response.mcp_call.in_progress")

    def listed(self, label: str, tools: list[dict[str, Any]]) -> Iterator[Event]:
        """Show the tools of an MCP server."""
        item = McpListItem(id=self._ids.item("mcp_list_tools"), server_label=label)
        yield from self._begin(item)
        yield self._event("response.mcp_list_tools.in_progress")
        item.tools = tools
        yield self._event("response.mcp_list_tools.completed")
        yield from self._done()

    def approved(self, request: dict[str, Any], answered: Answered) -> Iterator[Event]:
        """Show a call that the client has approved, with its result."""
        item = McpCallItem(
            id=self._ids.item("mcp_call"),
            server_label=request["server_label"],
            name=request["name"],
            approval_request_id=request["id"],
        )
        yield from self._begin(item)
        yield self._event("response.mcp_call.in_progress")
        item.arguments = request["arguments"]
        yield self._event("response.mcp_call_arguments.delta", delta=item.arguments)
        yield self._event("response.mcp_call_arguments.done", arguments=item.arguments)
        index, self._open = len(self._items) - 1, None
        yield from self._end_mcp(index, answered)

    def answered(self, answered: Answered) -> Iterator[Event]:
        """Show the result of a call that the server has made."""
        yield from self._end_mcp(self._calls.pop(answered.call.id), answered)

    def _end_mcp(self, index: int, answered: Answered) -> Iterator[Event]:
        item = self._items[index]
        assert isinstance(item, McpCallItem)
        if answered.error is None:
            item.status, item.output = "completed", answered.text
        else:
            content = [{"type": "text", "text": answered.error}]
            item.status, item.error = "failed", {"type": "mcp_tool_execution_error", "content": content}
        yield {"type": f"response.mcp_call.{item.status}", "item_id": item.id, "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}

    def _end_call(self, call: CallText, status: ItemStatus) -> Iterator[Event]:
        if isinstance(self._open, McpCallItem):
            self._open.arguments = call.arguments
            yield self._event("response.mcp_call_arguments.done", arguments=call.arguments)
            self._open = None
            return
        if isinstance(self._open, McpApprovalItem):
            item, self._open = self._open, None
            if status == "completed":
                item.arguments = call.arguments
                yield from self._begin(item)
                yield from self._done()
            return
        if isinstance(self._open, CustomCallItem):
            text = self._open.input = free_text(call.arguments)
            yield self._event("response.custom_tool_call_input.delta", delta=text)
            yield self._event("response.custom_tool_call_input.done", input=text)
        elif isinstance(self._open, FunctionCallItem):
            self._open.arguments = call.arguments
            name, arguments = self._open.name, call.arguments
            yield self._event("response.function_call_arguments.done", name=name, arguments=arguments)
        yield from self._done(status)

    def _begin(self, item: Item) -> Iterator[Event]:
        yield from self._end_text("completed")
        self._items.append(item)
        self._open = item
        yield {"type": "response.output_item.added", "output_index": len(self._items) - 1, "item": item}

    def _end_text(self, status: ItemStatus) -> Iterator[Event]:
        """End the message or the reasoning that is open, if one is."""
        text = "".join(self._texts)
        self._texts = []
        match self._open:
            case MessageItem():
                part: OutputText | ReasoningText = self._part()
                part.text = text
                logprobs = self._part().logprobs
                yield self._event("response.output_text.done", content_index=0, text=text, logprobs=logprobs)
            case ReasoningItem():
                part = ReasoningText(text=text)
                self._open.content = [part]
                if self._seals:
                    self._open.encrypted_content = sealed(text)
                yield self._event("response.reasoning_text.done", content_index=0, text=text)
            case _:
                return
        yield self._event("response.content_part.done", content_index=0, part=part)
        yield from self._done(status)

    def _done(self, status: ItemStatus = "completed") -> Iterator[Event]:
        if self._open is not None:
            if isinstance(self._open, MessageItem | ReasoningItem | FunctionCallItem | CustomCallItem):
                self._open.status = status
            yield {"type": "response.output_item.done", "output_index": len(self._items) - 1, "item": self._open}
        self._open = None

    def _event(self, kind: str, **fields: Any) -> Event:
        assert self._open is not None
        return {"type": kind, "item_id": self._open.id, "output_index": len(self._items) - 1, **fields}

    def _logprobs(self, tokens: Any) -> list[dict[str, Any]]:
        found: list[TokenLogProbs] = list(tokens)
        return [] if self._top_logprobs is None else chat_logprobs(found, self._top_logprobs)["content"]
