from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from studiolo.library.state import SCHEMA_VERSION, State

ROW = ("/m.gguf", 10, 20, b"content")


def test_what_is_put_is_there_for_the_next_process(tmp_path: Path) -> None:
    state = State(tmp_path / "deep" / "state.db")
    assert state.recall("a") is None
    assert not state.path.exists(), "reading must not make a file"
    state.remember("a", "1")
    state.remember("a", "2")
    state.remember("a:1", "x")
    state.remember("a%2", "y")
    state.put_model_files([ROW, ("/n.gguf", 1, 2, b"")])
    state.put_model_files([("/n.gguf", 3, 4, b"new")])
    state.close()
    state = State(state.path)
    assert state.recall("a") == "2"
    assert state.recall_all("a:") == {"1": "x"}
    assert state.model_files() == {"/m.gguf": (10, 20, b"content"), "/n.gguf": (3, 4, b"new")}
    state.forget_model_files(["/m.gguf"])
    assert list(state.model_files()) == ["/n.gguf"]
    state.close()


@pytest.mark.parametrize("damage", [b"this is no database at all" * 99, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(damage)
    state = State(path)
    with caplog.at_level(logging.WARNING):
        assert state.recall("a") is None
    assert "is damaged" in caplog.text
    state.remember("a", "1")
    state.close()
    assert State(path).recall("a") == "1" or pytest.fail("the new file does not keep anything")
    (aside,) = tmp_path.glob("state.db.damaged-*")
    assert aside.read_bytes() == damage


def test_a_file_damaged_in_its_pages_is_rebuilt_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(path)
    for index in range(200):
        state.remember(str(index), "x" * 100)
    state.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    state = State(path)
    assert state.recall("7") is None
    state.remember("7", "new")
    assert state.recall("7") == "new"
    state.close()
    assert len(list(tmp_path.glob("state.db.damaged-*"))) == 1


def test_the_file_of_the_first_version_keeps_its_rows_and_gets_the_new_table(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as first:
        first.execute("CREATE TABLE model_files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, metadata BLOB)")
        first.execute("CREATE TABLE memory (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        first.execute("INSERT INTO model_files VALUES (?, ?, ?, ?)", ROW)
        first.execute("PRAGMA user_version = 1")
    first.close()
    state = State(path)
    assert state.model_files() == {ROW[0]: ROW[1:]}
    state.put_tensor_shapes("/m.gguf", 10, 20, b"shapes")
    state.close()
    state = State(path)
    assert state.tensor_shapes("/m.gguf") == (10, 20, b"shapes") and state.tensor_shapes("/n.gguf") is None
    state.forget_model_files(["/m.gguf"])
    assert state.tensor_shapes("/m.gguf") is None and state.model_files() == {}
    state.close()
    assert SCHEMA_VERSION == 2, "write the test of the next migration"


def test_the_file_of_a_newer_version_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        newer.execute("CREATE TABLE memory (other TEXT)")
    newer.close()
    state = State(path)
    state.remember("a", "1")
    assert state.recall("a") == "1"
    state.close()
    assert "newer studiolo" in caplog.text
    with sqlite3.connect(path) as newer:
        assert newer.execute("SELECT * FROM memory").fetchall() == []
    newer.close()


def test_where_nothing_can_be_written_the_process_remembers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    state = State(tmp_path / "file" / "state.db")
    state.remember("a", "1")
    assert state.recall("a") == "1"
    state.close()
    assert "keeps its state in memory only" in caplog.text


WRITER = """
import sys
from pathlib import Path
from studiolo.library.state import State
state = State(Path(sys.argv[1]))
sys.stdin.readline()
for index in range(30):
    state.remember(f"{sys.argv[2]}-{index}", "x")
assert not state._in_memory
state.close()
"""


@pytest.mark.slow
def test_many_processes_share_a_file_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)], stdin=subprocess.PIPE)
        for number in range(4)
    ]
    for writer in writers:  # they begin together
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    assert [writer.wait(30) for writer in writers] == [0] * 4
    state = State(path)
    assert all(state.recall(f"{number}-{index}") == "x" for number in range(4) for index in range(30))
    state.close()
