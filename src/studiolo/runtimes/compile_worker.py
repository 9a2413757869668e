"""Run a build program, and end it and all that it has started when standard input ends: ``python -m ... COMMAND...``.

The parent holds standard input open, and closes it to cancel the build; it also ends with the parent, in whatever way.
A signal to the process group would not do: ninja starts each compiler in a group of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ..platform.parent_death import on_end_of_input
from ..platform.processes import end_descendants


def main() -> None:
    import psutil

    on_end_of_input(_end)
    own = psutil.Process()
    own.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else max(own.nice(), NICE))
    os._exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL) & 0xFF)


def _end() -> None:
    end_descendants()
    os._exit(1)


NICE = 10
"""The priority of a build, so that the machine stays usable: 0 is usual, 19 the lowest."""


if __name__ == "__main__":
    main()
