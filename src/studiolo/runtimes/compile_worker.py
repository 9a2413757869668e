"""Run a build program, and end it and all that it has started when standard input ends: ``python -m ... COMMAND...``.

The parent holds standard input open, and closes it to cancel the build; it also ends with the parent, in whatever way.
A signal to the process group would not do: ninja starts each compiler in a group of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ..platform.building import lower_priority
from ..platform.parent_death import on_end_of_input
from ..platform.processes import end_descendants


def main() -> None:
    on_end_of_input(_end)
    lower_priority()
    os._exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL) & 0xFF)


def _end() -> None:
    end_descendants()
    os._exit(1)


if __name__ == "__main__":
    main()
