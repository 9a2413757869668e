"""The machine's memory."""

from __future__ import annotations

import os
import sys


def total_memory_bytes() -> int:
    """Return the bytes of main memory that the machine has."""
    if sys.platform != "win32":
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError):  # the system does not say
            pass
    import psutil  # late: it takes a while to import

    return int(psutil.virtual_memory().total)
