"""The child process of a source: runs pip or the hub's client, and ends when its parent does.

Run by its path, outside the package: only the library that does the work has to be importable.
Usage: ``_worker.py pip ARGUMENT...`` or ``_worker.py hf REPO FILE REVISION FOLDER``.
"""

import json
import os
import runpy
import sys
import threading
from pathlib import Path


def _end_with_parent() -> None:
    # The other end of standard input is held by the parent, and closes however the parent ends.
    os.read(0, 1)
    os._exit(1)


def _fetch_from_hub(repo: str, file: str, revision: str, folder: str) -> None:
    """Report the file's size and sha256, fetch it, report its path: a JSON object a line."""
    import huggingface_hub as hub

    def say(**values: object) -> None:
        print(json.dumps(values), flush=True)

    kept = hub.try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(kept, str):  # fetched before by another program; works offline, too
        blob = Path(kept).resolve()
        say(size=blob.stat().st_size, sha256=blob.name if len(blob.name) == 64 else None)
        say(path=str(blob))
        return
    url = hub.hf_hub_url(repo, file, revision=revision)
    about = hub.get_hf_file_metadata(url)  # pyright: ignore[reportUnknownMemberType]
    # The hub's ETag of a large file is its sha256; that of a small one, a Git hash, is shorter.
    etag = about.etag or ""
    say(size=about.size or 0, sha256=etag if len(etag) == 64 else None)
    path = hub.hf_hub_download(  # pyright: ignore[reportUnknownMemberType]
        repo, file, revision=revision, local_dir=folder
    )
    say(path=path)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task, arguments = sys.argv[1], sys.argv[2:]
    if task == "pip":
        sys.argv = ["pip", *arguments]
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
        return
    try:
        _fetch_from_hub(*arguments)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
