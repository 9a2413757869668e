"""A real PostgreSQL server of the tests' own, as Debian's package has it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.running import wait_until


def programs() -> Path | None:
    """Return the folder of the server's programs; ``None`` where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a server at a Unix socket; yields the URL of its database. It refuses root, for whom ``nobody`` runs it."""
    folder = programs()
    assert folder is not None
    user = "nobody" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="studiolo-pg-", dir="/tmp"))
    if user is not None:
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)
    data = home / "data"
    initialise = [folder / "initdb", "-D", data, "-U", "studiolo", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initialise, check=True, capture_output=True, user=user, cwd=home)
    serve = [folder / "postgres", "-D", data, "-k", home, "-c", "listen_addresses="]
    server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=home)
    try:
        wait_until(lambda: (home / ".s.PGSQL.5432").exists(), "PostgreSQL")
        yield f"postgresql+psycopg://studiolo@/postgres?host={home}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(home, ignore_errors=True)
