"""``studiolo chat`` for one answer, and ``studiolo chats``; on the fake engine, in the tests' own process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import studiolo_fake_engine as fake

from studiolo.paths import Home
from tests.support.chatting import Done, command, home_of_fakes, picture, prompt_of

pytestmark = [pytest.mark.quick_model, pytest.mark.slow]


@pytest.fixture
def home(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    return home_of_fakes(empty_home, monkeypatch)


def good(done: Done) -> str:
    assert done.status == 0, done.err
    return done.out


def listed(patch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    return json.loads(good(command(patch, "chats", "list", "--json")))


def test_the_answer_alone_is_on_standard_output(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command(monkeypatch, "chat", "tiny", "-p", "Count.", "--stats", "-s", "Be brief.", "--set", "seed=3")
    assert good(done) == "One two three.\n"
    assert "3 out" in done.err and "stopped by eosFound" in done.err
    (kept,) = listed(monkeypatch)
    assert (kept["title"], kept["model"], kept["system_prompt"]) == ("Count.", "tiny", "Be brief.")
    assert kept["settings"] == {"seed": 3} and prompt_of() == "Be brief.\nCount."


def test_a_preset_is_used_and_changed_by_options(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with home.settings.open("a") as settings:
        settings.write('[presets.brief]\nsystem_prompt = "Be brief."\nmax_tokens = 2\nseed = 3\n')
    done = command(monkeypatch, "chat", "-p", "Count.", "--preset", "brief", "--set", "seed=4", "--json")
    answer = json.loads(good(done))
    assert answer["content"] == "One two " and prompt_of() == "Be brief.\nCount."
    assert answer["prediction_config"]["seed"] == 4
    good(command(monkeypatch, "chat", "-p", "Count.", "--preset", "brief", "-s", "Be kind."))
    assert prompt_of() == "Be kind.\nCount."


def test_a_pipe_is_the_question_or_is_added_to_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    good(command(monkeypatch, "chat", stdin="Wer ist Jürgen?\n".encode()))
    assert prompt_of() == "Wer ist Jürgen?"
    good(command(monkeypatch, "chat", "-p", "Say it again:", stdin=b"a text\n"))
    assert prompt_of() == "Say it again:\n\na text"


def test_a_conversation_is_continued(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    good(command(monkeypatch, "chat", "-p", "First?", "-s", "Be brief."))
    fake.models["tiny"].tokens = ("Four.",)
    good(command(monkeypatch, "chat", "-p", "Second?", "--continue"))
    assert prompt_of() == "Be brief.\nFirst?\nOne two three.\nSecond?"
    good(command(monkeypatch, "chat", "-p", "Other?"))
    (_, kept) = listed(monkeypatch)
    good(command(monkeypatch, "chat", "-p", "Third?", "--conversation", str(kept["id"])[:6]))
    assert prompt_of().endswith("Second?\nFour.\nThird?")
    assert [each["title"] for each in listed(monkeypatch)] == ["First?", "Other?"]


def test_json_has_the_answer_its_statistics_and_its_conversation(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.loads(good(command(monkeypatch, "chat", "-p", "Count.", "--json", "--set", "maxTokens=2")))
    assert (answer["model"], answer["content"]) == ("tiny", "One two ")
    assert answer["stats"]["predicted_tokens_count"] == 2 and answer["prediction_config"]["max_tokens"] == 2
    assert [each["id"] for each in listed(monkeypatch)] == [answer["conversation"]]
    answer = json.loads(good(command(monkeypatch, "chat", "-p", "Count.", "--json", "--no-store")))
    assert "conversation" not in answer and len(listed(monkeypatch)) == 1


def test_reasoning_is_apart_from_the_answer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.models["tiny"].tokens = ("<think>", "Hm, ", "two.", "</think>", "\n\nTwo", ".")
    answer = json.loads(good(command(monkeypatch, "chat", "-p", "1+1?", "--json")))
    assert answer["content"].strip() == "Two." and answer["reasoning"] == "Hm, two."
    done = command(monkeypatch, "chat", "-p", "1+1?", "--show-reasoning")
    assert good(done).strip() == "Two." and "Hm, two." in done.err
    good(command(monkeypatch, "chat", "-c", "-p", "And 2+2?"))
    assert "Hm" not in prompt_of() and prompt_of().startswith("1+1?\n")


def test_a_schema_is_read_from_a_file_and_the_answer_held_to_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    fake.models["tiny"].tokens = ('{"n"', ": 3}")
    answer = json.loads(good(command(monkeypatch, "chat", "-p", "?", "--schema", str(schema), "--json")))
    assert answer["parsed"] == {"n": 3}
    fake.models["tiny"].tokens = ('{"n"',)
    done = command(monkeypatch, "chat", "-p", "?", "--schema", str(schema), "--set", "max_tokens=1")
    assert done.status == 1 and "does not match the schema" in done.err and done.out == '{"n"\n'
    for content, said in (("{", "not JSON"), ("[]", "not a JSON schema")):
        schema.write_text(content)
        done = command(monkeypatch, "chat", "-p", "?", "--schema", str(schema))
        assert done.status == 1 and said in done.err


def test_documents_go_along_whole_or_as_the_passages_that_fit(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bees.txt").write_text("Bees make honey.")
    (tmp_path / "long.txt").write_text("\n\n".join(f"Passage {number} is about something." for number in range(500)))
    good(command(monkeypatch, "chat", "-p", "What do they make?", "--file", str(tmp_path / "bees.txt")))
    assert prompt_of() == "File bees.txt:\n\nBees make honey.\n\nWhat do they make?"
    good(command(monkeypatch, "chat", "-p", "Which?", "--file", str(tmp_path / "long.txt")))
    assert prompt_of().startswith("Passages of the file long.txt:\n\n") and len(prompt_of()) < 6000
    good(command(monkeypatch, "chat", "-p", "More?", "--continue"))
    assert "Passages of the file long.txt" in prompt_of()


def test_an_image_is_given_by_its_file_or_by_a_pipe(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    good(command(monkeypatch, "chat", "-p", "What is it?", "--image", str(tmp_path / "a.png")))
    good(command(monkeypatch, "chat", "-p", "What is it?", stdin=picture()))
    good(command(monkeypatch, "chat", "-p", "And now?", "-c"))
    (engine,) = [engine for engine in fake.engines if engine.key == "tiny"]
    assert [len(request.media) for request in engine.requests] == [1, 1, 1]


@pytest.mark.parametrize(
    ("words", "stdin", "status", "said"),
    [
        (("-p", "x", "--set", "temperatur=1"), b"", 1, "Did you mean 'temperature'?"),
        (("-p", "x", "--set", "temperature=hot"), b"", 1, "temperature"),
        (("-p", "x", "--set", "temperature"), b"", 2, "NAME=VALUE"),
        (("-p", "x", "--preset", "none"), b"", 1, "no preset 'none'"),
        (("-p", "x", "-c", "--conversation", "y"), b"", 2, "--continue and --conversation"),
        (("tinny", "-p", "x"), b"", 1, "tiny"),
        (("-p", "x", "-c"), b"", 1, "no conversation yet"),
        (("-p", "x", "--conversation", "none"), b"", 1, "studiolo chats"),
        (("-p", "x", "--image", "none.png"), b"", 1, "none.png"),
        (("-p", "x", "--image", __file__), b"", 1, "not an image"),
        (("-p", "x", "--file", "none.txt"), b"", 1, "none.txt"),
        (("-p", "x", "--schema", "none.json"), b"", 1, "none.json"),
        (("-p", "x", "--tools", "none"), b"", 1, "no MCP server 'none'"),
        (("-p", "x"), b"\xff\x00\x01", 1, "standard input"),
        ((), b" \n", 1, "no question"),
    ],
)
def test_what_cannot_be_done_is_named(
    words: tuple[str, ...], stdin: bytes, status: int, said: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command(monkeypatch, "chat", *words, stdin=stdin)
    assert done.status == status and said in done.err, done
    assert done.out == "" and "Traceback" not in done.err and listed(monkeypatch) == []


def test_on_a_terminal_json_and_schema_need_a_question(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command(monkeypatch, "chat", "--json", is_terminal=True)
    assert done.status == 2 and "-p PROMPT" in done.err


def test_a_home_that_cannot_be_written_to_is_no_reason_not_to_answer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.root / "store.db").mkdir()
    done = command(monkeypatch, "chat", "-p", "Count.")
    assert good(done) == "One two three.\n" and done.err.count("is not stored") == 1
    assert command(monkeypatch, "chat", "-p", "Count.", "-c").status == 1


def test_an_answer_that_fails_is_kept_as_far_as_it_came(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.models["tiny"].dies_after = 2
    done = command(monkeypatch, "chat", "-p", "Count.", "--set", "on_engine_failure=error")
    assert done.status == 1 and "ended unexpectedly" in done.err
    exported = json.loads(
        good(command(monkeypatch, "chats", "export", str(listed(monkeypatch)[0]["id"]), "-f", "json"))
    )
    assert [message.get("stop_reason") for message in exported["messages"]] == [None, "failed"]
    assert exported["messages"][1]["parts"] == [{"type": "Text", "text": "One two "}]


def test_conversations_are_listed_shown_exported_and_deleted(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "studiolo chat" in command(monkeypatch, "chats").err
    for question in ("First\x1b[31m?", "Second?", "Third?"):
        good(command(monkeypatch, "chat", "-p", question))
    table = good(command(monkeypatch, "chats"))
    assert table.splitlines()[0].split() == ["ID", "CHANGED", "MODEL", "TITLE"]
    assert "Third?" in table.splitlines()[1] and "\x1b" not in table
    third, second, first = [str(each["id"]) for each in listed(monkeypatch)]
    assert len(good(command(monkeypatch, "chats", "list", "--limit", "2")).splitlines()) == 3
    (line,) = good(command(monkeypatch, "chats", "list", "--search", "SECOND?")).splitlines()[1:]
    assert line.startswith(second) and line.endswith("Second?")
    found = json.loads(good(command(monkeypatch, "chats", "list", "--search", "two three", "--json")))
    assert [each["excerpt"] for each in found] == ["One two three."] * 3
    assert "no message has all of these words" in command(monkeypatch, "chats", "list", "--search", "fourth").err
    assert "## You\n\nThird?\n\n## Model\n\nOne two three." in good(command(monkeypatch, "chats", "show", third))
    for name, begin in (("a.md", "# Third?"), ("a.json", "{")):
        good(command(monkeypatch, "chats", "export", third, "-o", str(tmp_path / name)))
        assert (tmp_path / name).read_text().startswith(begin)
    done = command(monkeypatch, "chats", "export", third, "-o", str(tmp_path / "no" / "a.md"))
    assert done.status == 1 and "cannot be written" in done.err
    good(command(monkeypatch, "chats", "delete", first, second))
    assert [each["id"] for each in listed(monkeypatch)] == [third]
    assert (
        command(monkeypatch, "chats", "delete").status == 2 and command(monkeypatch, "chats", "show", "x").status == 1
    )
    assert "1 conversation is deleted" in command(monkeypatch, "chats", "delete", "--all").err
    assert listed(monkeypatch) == []
