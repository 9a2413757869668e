"""Run a build program, and end it and all that it has started when the parent ends: ``python -m ... COMMAND...``.

The parent holds standard input open, which ends when the parent does, in whatever way.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ..platform.parent_death import on_end_of_input
from ..platform.processes import end_group


def main() -> None:
    import psutil

    on_end_of_input(end_group)
    own = psutil.Process()
    own.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else max(own.nice(), NICE))
    os._exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL) & 0xFF)


NICE = 10
"""The priority of a build, so that the machine stays usable: 0 is usual, 19 the lowest."""


if __name__ == "__main__":
    main()
