"""Logs of engines: appended to, bounded, one writer each, followed by others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from studiolo.cli.log_tail import Tail
from studiolo.engines import log_file
from studiolo.engines.log_file import LogFile


def write(log: LogFile, text: str) -> None:
    subprocess.run([sys.executable, "-c", f"import sys; sys.stderr.write({text!r})"], stderr=log.fileno(), check=True)


def test_a_new_writer_appends_to_the_log_and_knows_its_own_lines(tmp_path: Path) -> None:
    first = LogFile(tmp_path / "logs" / "a.log", tmp_path / "b.log")
    write(first, "one\n\ntwo\n")
    assert first.tail(5) == ["one", "two"]
    assert first.tail(1) == ["two"]
    first.close()
    second = LogFile(tmp_path / "logs" / "a.log", tmp_path / "b.log")
    assert second.tail(5) == []
    write(second, "three\n")
    assert second.tail(5) == ["three"]
    assert second.path.read_text() == "one\n\ntwo\nthree\n"
    second.close()


def test_two_writers_at_once_have_files_of_their_own(tmp_path: Path) -> None:
    first = LogFile(tmp_path / "a.log", tmp_path / "b.log")
    second = LogFile(tmp_path / "a.log", tmp_path / "b.log")
    assert (first.path.name, second.path.name) == ("a.log", "a.2.log")
    first.close()
    third = LogFile(tmp_path / "a.log", tmp_path / "b.log")
    assert third.path.name == "a.log"
    second.close()
    third.close()


def test_a_log_that_grows_loses_its_older_part(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", tmp_path / "b.log")
    os.write(log.fileno(), b"old line\n" * (log_file.MAX_BYTES // 9 + 1))
    write(log, "the latest\n")
    log.trim()
    assert log.path.stat().st_size <= log_file.KEPT_BYTES
    assert log.path.read_text().startswith("old line\n")
    write(log, "the very latest\n")
    assert log.tail(2) == ["the latest", "the very latest"]
    log.close()


def test_who_follows_a_log_that_is_cut_reads_each_line_once(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", tmp_path / "b.log")
    number = 0

    def add(count: int, *, end: str = "\n") -> None:
        nonlocal number
        os.write(log.fileno(), "".join(f"line {n}, {'x' * 80}\n" for n in range(number, number + count)).encode()[:-1])
        os.write(log.fileno(), end.encode())
        number += count

    add(100)
    tail = Tail(log.path)
    read = tail.last(10, follow=True)
    for _ in range(3):
        add(log_file.MAX_BYTES // 80, end="")  # the last line has no end yet
        while added := tail.added():
            read += added
        os.write(log.fileno(), b"\n")
        add(50)
        log.trim()
        assert log.path.stat().st_size < 2 * log_file.KEPT_BYTES
        add(50)
        read += tail.added()
    assert [line.split(",")[0] for line in read] == [f"line {n}" for n in range(90, number)]
    tail.close()
    log.close()


def test_what_is_cut_before_it_was_read_is_passed_over(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", tmp_path / "b.log")
    write(log, "one\ntwo\n")
    tail = Tail(log.path)
    assert tail.last(1, follow=True) == ["two"]
    os.write(log.fileno(), b"old line\n" * (log_file.MAX_BYTES // 9 + 1))
    log.trim()
    write(log, "three\n")
    kept = log.path.read_text().splitlines()
    assert tail.added() == kept
    assert kept[-1] == "three" and set(kept[:-1]) == {"old line"}
    tail.close()
    log.close()


def test_a_cut_through_what_was_read_last_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {n}\n" for n in range(20)))
    tail = Tail(path)
    assert tail.last(1, follow=True) == ["line 19"]
    path.write_text("line 18\nline 19\nline 20\n")
    assert tail.added() == ["line 20"]
    path.write_text("line 21\n")
    assert tail.added() == ["line 21"]
    tail.close()


def test_a_log_that_is_replaced_is_read_to_its_end_first(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("one\n")
    tail = Tail(path)
    assert tail.last(5, follow=True) == ["one"]
    with path.open("a") as file:
        file.write("two\nthree")
    path.rename(tmp_path / "server.old.log")
    assert tail.added() == ["two"]
    path.write_text("four\n")
    assert tail.added() == ["three", "four"]
    assert tail.added() == []
    tail.close()


def test_the_oldest_logs_are_deleted_but_those_that_are_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    first = LogFile(folder / "0.log", tmp_path / "b.log")
    for number in range(1, 6):
        (folder / f"{number}.log").touch()
    for number in range(6):
        os.utime(folder / f"{number}.log", (number, number))
    log_file.prune(folder, keep=3)
    assert sorted(path.name for path in folder.iterdir()) == ["0.log", "4.log", "5.log"]
    first.close()
    log_file.prune(folder, keep=3)
    log_file.prune(tmp_path / "nowhere", keep=0)
    log_file.prune(folder, keep=2)
    assert sorted(path.name for path in folder.iterdir()) == ["4.log", "5.log"]


def test_where_the_folder_cannot_be_made_the_log_is_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    log = LogFile(tmp_path / "logs" / "a.log", tmp_path / "b.log")
    write(log, "here\n")
    assert (log.path.name, log.tail(1)) == ("b.log", ["here"])
    log.close()
