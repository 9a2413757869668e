"""Conversations in the store: trees of messages that outlive every process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from studiolo.domain.chat import Image, Text, ToolCall, ToolResult
from studiolo.errors import ConfigError, StoredItemNotFoundError, StoreError
from studiolo.store.conversation import (
    MAX_TITLE_CHARS,
    Conversation,
    ConversationMessage,
    ConversationPart,
    Document,
    MessageTree,
    title_of,
)
from studiolo.store.conversation_export import as_json, as_markdown, from_json
from studiolo.store.conversations import Conversations
from studiolo.store.store import MAX_BODY_BYTES, Store


def said(text: str, parent: str | None = None, **fields: object) -> ConversationMessage:
    role = "user" if text.endswith("?") else "assistant"
    return ConversationMessage(role=role, parts=[Text(text)], parent=parent, id=text, **fields)  # type: ignore[arg-type]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/store.db", keep_days=1e-9, max_records=3)
    yield store
    await store.close()


PARTS: list[ConversationPart] = [
    Text("Ä\n\x1b"),
    Image(b"\x00\xff", "a.png"),
    Document(name="b.txt", text="bees", is_excerpt=True),
    ToolCall("add", {"a": [1, None]}, "1"),
    ToolResult("3", "1", "add"),
]


async def test_a_conversation_is_found_again_with_every_part(store: Store, tmp_path: Path) -> None:
    begun = Conversation(title="T", model="m", system_prompt="s", settings={"temperature": 0.5}, tools=["web"])
    message = ConversationMessage(role="user", parts=PARTS, reasoning="hm", stats={"x": 1}, stop_reason="eosFound")
    await Conversations(store).save(begun)
    await Conversations(store).add(begun.id, message)
    assert (tmp_path / "store.db").stat().st_mode & 0o077 == 0
    again = Store(f"sqlite:///{tmp_path}/store.db", keep_days=1, max_records=3)  # as another process has it
    found = await Conversations(again).get(begun.id)
    assert replace(found, updated=begun.updated) == replace(begun, head=message.id)
    assert found.updated >= begun.updated
    assert (await Conversations(again).messages(begun.id)).all() == [message]
    await again.close()


async def test_conversations_are_listed_by_their_last_change_and_belong_to_their_owner(store: Store) -> None:
    mine, others = Conversations(store), Conversations(store, "token")
    first, second = Conversation(title="1"), Conversation(title="2")
    for each in (first, second):
        await mine.save(each)
    await mine.add(first.id, said("Why?"))
    assert [each.title for each in await mine.list(limit=5)] == ["1", "2"]
    assert [each.title for each in await mine.list(limit=1, offset=1)] == ["2"]
    assert await others.list(limit=5) == [] and not await others.delete(first.id)
    with pytest.raises(StoredItemNotFoundError):
        await others.get(first.id)
    with pytest.raises(StoredItemNotFoundError):
        await others.add(first.id, said("Who?"))
    assert await mine.delete(first.id) and not await mine.delete(first.id)
    assert len(await mine.messages(first.id)) == 0 and [each.title for each in await mine.list(limit=5)] == ["2"]


async def test_a_part_of_an_id_is_enough_where_it_is_the_only_one(store: Store) -> None:
    kept = Conversations(store)
    for name in ("abcdef", "abcxyz", "abc_de"):
        await kept.save(Conversation(id=name))
    assert (await kept.get("abcd")).id == "abcdef" and (await kept.get("abc_")).id == "abc_de"
    for wrong, cause in (("abc", "Several"), ("ab", "no conversation"), ("abd", "no conversation"), ("", "no conv")):
        with pytest.raises(StoredItemNotFoundError, match=cause):
            await kept.get(wrong)
    await kept.delete("abc_de")
    await kept.save(Conversation(id="abc"))
    assert (await kept.get("abc")).id == "abc"


async def test_of_too_many_conversations_the_longest_unused_are_removed_with_their_messages(store: Store) -> None:
    kept = Conversations(store)
    for number in range(3):
        await kept.save(Conversation(id=f"number-{number}", updated=1000.0 + number))
    await kept.add("number-0", said("Why?"))
    await kept.save(Conversation(id="number-3"))
    assert {each.id for each in await kept.list(limit=9)} == {"number-3", "number-0", "number-2"}
    assert len(await kept.messages("number-0")) == 1


async def test_a_message_that_is_too_large_is_refused(store: Store) -> None:
    await Conversations(store).save(Conversation(id="one"))
    with pytest.raises(StoreError, match="too large"):
        await Conversations(store).add("one", said("?" * MAX_BODY_BYTES))


def test_another_answer_begins_a_branch() -> None:
    tree = MessageTree([said("A?"), said("a1", "A?"), said("a2", "A?"), said("B?", "a1"), said("C?")])
    assert [message.id for message in tree.path("B?")] == ["A?", "a1", "B?"] and tree.path(None) == []
    assert [path[-1].id for path in tree.branches()] == ["a2", "B?", "C?"]
    question = tree.question("a2")
    assert question is not None and question.id == "A?" and tree.question(None) is None
    with pytest.raises(ConfigError, match="Two messages"):
        tree.add(said("A?"))
    with pytest.raises(ConfigError, match="does not come before"):
        tree.add(said("D?", "nowhere"))


def test_a_title_is_one_short_line() -> None:
    assert title_of("  Who\nis\tshe? ") == "Who is she?"
    assert len(title_of("x" * 500)) == MAX_TITLE_CHARS and title_of("x" * 500).endswith("…")


def test_an_export_is_read_again_under_another_id() -> None:
    tree = MessageTree([said("A?"), said("a1", "A?", reasoning="so"), said("a2", "A?")])
    tree.add(ConversationMessage(role="user", parts=PARTS, parent="a1", id="all"))
    exported = Conversation(title="T", head="a1", settings={"maxTokens": 3})
    conversation, read = from_json(as_json(exported, tree))
    assert conversation.id != exported.id and replace(conversation, id=exported.id) == exported
    assert read.all() == tree.all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an exported"),
        ("[]", "not an exported"),
        (b"\xff", "not an exported"),
        ('{"conversation": {}}', "messages"),
        ('{"conversation": {}, "messages": [], "version": 2}', "form 2"),
        ('{"conversation": {"head": "x"}, "messages": []}', "none of its messages"),
        ('{"conversation": {}, "messages": [{"role": "king", "parts": []}]}', "king"),
        ('{"conversation": {}, "messages": [{"id": "a", "parent": "a", "role": "user", "parts": []}]}', "'a'"),
        ("[" * 100_000, "not an exported"),
    ],
)
def test_what_is_no_export_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(text)
    assert said in str(caught.value)


def test_markdown_shows_one_branch_with_all_that_was_said() -> None:
    question = ConversationMessage(role="user", parts=PARTS, id="1")
    answer = said("An answer.", "1", reasoning="I think.", stop_reason="userStopped")
    text = as_markdown(Conversation(title="Bees", model="m", system_prompt="Be brief."), [question, answer])
    for part in ("# Bees", ", m\n", "## System\n\nBe brief.", "## You", "a.png, 2 bytes", "passages of the file b.txt"):
        assert part in text
    for part in ("Calls `add`", '{"a": [1, null]}', "`add` returned", "I think.", "## Model", "*(stopped)*"):
        assert part in text
    fenced = as_markdown(Conversation(), [ConversationMessage(role="tool", parts=[ToolResult("```\nx\n```")])])
    assert "````\n```\nx\n```\n````" in fenced
