"""The store: records of an owner, bounded, expiring, on disk before they are acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from studiolo.domain.chat import Image, Text, ToolResult
from studiolo.errors import ConfigError, StoreError
from studiolo.store.conversation import Conversation, ConversationMessage, Document
from studiolo.store.conversations import Conversations
from studiolo.store.store import MAX_BODY_BYTES, Store
from tests.support.postgres import postgres, programs

pytestmark = pytest.mark.slow

Open = Callable[..., Store]


def said(text: str) -> ConversationMessage:
    return ConversationMessage(role="user" if text.endswith("?") else "assistant", parts=[Text(text)])


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    url: str = request.getfixturevalue("postgres_url")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("DROP TABLE IF EXISTS conversation_messages, conversations, records, version")
        )
    engine.dispose()
    return url


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    """Opens stores of one database, closed at the end."""
    stores: list[Store] = []

    def open_store(**settings: float) -> Store:
        store = Store(url, **{"keep_days": 1, "max_records": 100, **settings})  # type: ignore[arg-type]
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        await store.close()


async def test_a_record_is_found_by_its_kind_owner_and_id_alone(opened: Open) -> None:
    store = opened()
    await store.put("chat", "ann", "one", b"1")
    found = await store.get("chat", "ann", "one")
    assert found is not None and found.body == b"1" and abs(found.created - time.time()) < 60
    assert await store.get("chat", "bob", "one") is None
    assert await store.get("response", "ann", "one") is None
    await store.put("chat", "bob", "one", b"2")
    await store.put("chat", "ann", "one", b"3")
    found_again = await store.get("chat", "ann", "one")
    assert found_again is not None and (found_again.body, found_again.created) == (b"3", found.created)
    assert not await store.delete("chat", "cid", "one") and await store.delete("chat", "ann", "one")
    assert await store.get("chat", "ann", "one") is None and await store.get("chat", "bob", "one") is not None


async def test_records_are_listed_in_their_order_page_by_page(opened: Open) -> None:
    store = opened()
    for number in range(5):
        await store.put("chat", "", str(number), b"x")
    await store.put("chat", "other", "9", b"x")

    async def ids(**settings: object) -> str:
        return "".join([each.id for each in await store.list("chat", "", **{"limit": 10, **settings})])  # type: ignore[arg-type]

    assert await ids() == "43210" and await ids(newest_first=False) == "01234"
    assert await ids(limit=2) == "43" and await ids(limit=2, after="3") == "21"
    assert await ids(after="3", newest_first=False) == "4" and await ids(after="none") == ""


async def test_records_expire_and_are_bounded_in_number(opened: Open) -> None:
    long, short = opened(), opened(keep_days=0.2 / 86400)
    await long.put("chat", "", "lasting", b"x")
    await short.put("chat", "", "brief", b"x")
    await asyncio.sleep(0.3)
    assert await short.get("chat", "", "brief") is None
    assert [each.id for each in await short.list("chat", "", limit=5)] == ["lasting"]
    few = opened(max_records=3)
    for number in range(6):
        await few.put("chat", "", str(number), b"x")
    assert [each.id for each in await few.list("chat", "", limit=10)] == ["5", "4", "3"]


async def test_another_process_reads_what_was_acknowledged(opened: Open) -> None:
    await opened().put("chat", "", "one", b"1")
    found = await opened().get("chat", "", "one")
    assert found is not None and found.body == b"1"


async def test_conversations_lie_in_every_database(opened: Open) -> None:
    kept, message = Conversations(opened(max_records=1)), ConversationMessage(role="user", parts=[Text("Why?")])
    for name in ("first", "second"):
        await kept.save(Conversation(id=name))
        await kept.add(name, message)
    assert [each.id for each in await kept.list(limit=5)] == ["second"]
    found = await kept.get("sec")
    assert found.head == message.id and (await kept.messages(found.id)).all() == [message]
    assert len(await kept.messages("first")) == 0


KILLED = """
import asyncio, os, signal, sys
from studiolo.store.store import Store

async def main() -> None:
    store = Store(sys.argv[1], keep_days=1, max_records=100)
    for number in range(20):
        await store.put("chat", "", str(number), b"x" * 1000)
        print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
async def test_a_process_that_is_killed_loses_nothing_that_was_acknowledged(opened: Open, url: str) -> None:
    program = [sys.executable, "-c", KILLED, url]
    ended = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    acknowledged = (await ended.communicate())[0].decode().split()
    assert ended.returncode == -signal.SIGKILL and len(acknowledged) == 20
    assert [each.id for each in await opened().list("chat", "", limit=50, newest_first=False)] == acknowledged


async def test_what_is_too_large_is_not_stored(opened: Open) -> None:
    with pytest.raises(StoreError, match="too large"):
        await opened().put("chat", "", "one", b"x" * (MAX_BODY_BYTES + 1))


async def test_a_database_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    for url in ("nonsense", "oracle7://x", ""):
        with pytest.raises(ConfigError, match=r"store\.url"):
            Store(url, keep_days=1, max_records=10)
    store = Store(f"sqlite:///{tmp_path}/no/such/folder/store.db", keep_days=1, max_records=10)
    with pytest.raises(StoreError, match="cannot be used"):
        await store.get("chat", "", "one")
    await store.close()
    (tmp_path / "broken.db").write_bytes(os.urandom(5000))
    broken = Store(f"sqlite:///{tmp_path}/broken.db", keep_days=1, max_records=10)
    with pytest.raises(StoreError, match="not a database"):
        await broken.put("chat", "", "one", b"x")
    await broken.close()
    away = Store(f"postgresql+psycopg://ann:secret@/x?host={tmp_path}", keep_days=1, max_records=10)
    with pytest.raises(StoreError, match="cannot be used") as caught:
        await away.get("chat", "", "one")
    assert "secret" not in str(caught.value)
    await away.close()


async def test_a_store_of_a_newer_version_is_refused(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studiolo.store.database.VERSION", 99)
    await opened().put("chat", "", "one", b"x")
    monkeypatch.setattr("studiolo.store.database.VERSION", 1)
    with pytest.raises(StoreError, match="newer version"):
        await opened().get("chat", "", "one")


async def test_words_are_found_in_messages_of_all_branches_with_what_is_around_them(opened: Open) -> None:
    store = opened()
    stored = Conversations(store)
    texts = {
        "a": [f'{"x " * 50}Über 100%_sure "Quotes" \\ and C:\\temp\nnext line {"y " * 100}', "bees?"],
        "b": ["Überall bees", "100 percent"],
        "c": ["nothing"],
    }
    for title, all_of in texts.items():
        begun = Conversation(title=title, id=f"id-{title}")
        await stored.save(begun)
        for text in all_of:
            await stored.add(begun.id, said(text))
    picture = ConversationMessage(role="user", parts=[Image(b"bees" * 9, "bees.png"), Document(name="d", text="wasps")])
    await stored.add("id-c", picture)
    result = ConversationMessage(role="tool", parts=[Text("hornets"), ToolResult("hornets", "1", "f")])
    await stored.add("id-c", result)

    async def found(text: str) -> list[str]:
        return [each.conversation.title for each in (await stored.search(text)).matches]

    assert await found("über") == ["b", "a"]
    assert await found("100%_SURE") == await found('"quotes"') == await found("\\") == await found("c:\\TEMP") == ["a"]
    assert await found("bees") == ["b", "a"] and await found("bees über") == ["b"]
    for nothing in ("", "  ", "wasps", "hornets", "%", "_e_s", "\ud800", "\x00", "bee" * 5000, "parts role"):
        assert await found(nothing) == ([] if nothing != "%" else ["a"]), nothing
    (match, *_) = (await stored.search("über 100%")).matches
    assert match.excerpt.startswith("…x x") and "Über 100%_sure" in match.excerpt and match.excerpt.endswith("…")
    assert "\n" not in match.excerpt
    assert len((await stored.search("bees", limit=1)).matches) == 1
    assert await Conversations(store, "abcdefgh").search("bees") == ([], True)


async def test_a_search_that_takes_too_long_says_that_it_did_not_look_everywhere(opened: Open) -> None:
    stored = Conversations(opened())
    for number in range(11):
        begun = Conversation(title=f"{number}")
        await stored.save(begun)
        await stored.add(begun.id, said("first" if number == 0 else "later"))
    assert await stored.search("first", limit_sec=0) == ([], False)
    found, is_complete = await stored.search("first")
    assert (found[0].conversation.title, is_complete) == ("0", True)
