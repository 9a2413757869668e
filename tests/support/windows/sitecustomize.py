"""Make the stand-ins for Windows' modules importable, once ``subprocess`` has found which system this is."""

import subprocess  # noqa: F401 (it looks for the module msvcrt)
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).with_name("modules")))
