"""Python imports this module by itself at its start in every process that a test starts; see ``wire_recorder.py``."""

from __future__ import annotations

import wire_recorder

wire_recorder.install()
