"""How far a load is, by what the operating system says of a process."""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studiolo.engines.llama_cpp.load_progress import emit_progress
from studiolo.engines.spec import LoadProgress


def test_a_slow_reader_that_is_a_stand_in_for_the_engine_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "weights.gguf"
    file.write_bytes(struct.pack("<Q", 7) * (1 << 20))
    script = (
        "import sys, time\nf = open(sys.argv[1], 'rb', buffering=0)\n"
        "for _ in range(8):\n    sys.stdin.readline()\n    f.read(1 << 20)\nsys.stdin.readline()"
    )
    emitted: list[float] = []

    def emit(progress: LoadProgress) -> None:
        emitted.append(progress.fraction)

    async def follow(reader: subprocess.Popen[str]) -> None:
        task = asyncio.create_task(emit_progress(reader.pid, file, emit))
        assert reader.stdin is not None
        async with asyncio.timeout(60):
            for step in range(9):  # each piece is read once the progress of the one before it has come
                while len(emitted) <= step or emitted[-1] < min(step / 8, 0.98):  # noqa: ASYNC110 - by another task
                    await asyncio.sleep(0.01)
                if step < 8:
                    reader.stdin.write("go\n")
                    reader.stdin.flush()
        task.cancel()

    with subprocess.Popen([sys.executable, "-c", script, str(file)], stdin=subprocess.PIPE, text=True) as reader:
        asyncio.run(follow(reader))
        reader.kill()
    assert emitted == sorted(emitted)
    assert len(emitted) >= 4, "progress came in fewer steps than the file was read"


@pytest.mark.skipif(sys.platform != "linux", reason="counted in /proc")
def test_a_mapped_file_is_followed_without_a_look_at_each_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counters of a process cost the same for any size; ``smaps`` visits every page of it."""
    file = tmp_path / "weights.gguf"
    file.write_bytes(bytes(8 << 20))
    looked: set[str] = set()
    read_text = Path.read_text

    def note(path: Path, *arguments: Any, **options: Any) -> str:
        looked.add(path.name)
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", note)
    emitted: list[float] = []

    async def follow() -> None:
        task = asyncio.create_task(emit_progress(os.getpid(), file, lambda progress: emitted.append(progress.fraction)))
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            while not emitted:  # noqa: ASYNC110 - it has looked at what is mapped
                await asyncio.sleep(0.01)
            for page in range(0, len(mapped), mmap.PAGESIZE):
                assert mapped[page] == 0
            async with asyncio.timeout(30):
                while not emitted or emitted[-1] < 0.9:  # noqa: ASYNC110 - emitted by another task
                    await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(follow())
    assert emitted[0] < 0.5
    assert "statm" in looked and not {"smaps", "smaps_rollup", "pagemap"} & looked
