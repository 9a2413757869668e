"""Logs of engines: appended to, bounded, one writer each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from studiolo.engines import log_file
from studiolo.engines.log_file import LogFile


def write(log: LogFile, text: str) -> None:
    subprocess.run([sys.executable, "-c", f"import sys; sys.stderr.write({text!r})"], stderr=log.fileno(), check=True)


def test_a_new_writer_goes_on_where_the_last_one_ended_and_tells_its_own_lines(tmp_path: Path) -> None:
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


def test_where_the_folder_cannot_be_made_the_log_is_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    log = LogFile(tmp_path / "logs" / "a.log", tmp_path / "b.log")
    write(log, "here\n")
    assert (log.path.name, log.tail(1)) == ("b.log", ["here"])
    log.close()
