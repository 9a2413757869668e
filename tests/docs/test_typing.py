"""A program that imports studiolo as ``lmstudio`` type-checks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import studiolo

pytestmark = pytest.mark.slow


def test_a_program_type_checks_and_so_does_every_public_name(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "typed" / "program.py", tmp_path)
    names = "\n".join(f"print(studiolo.{name})" for name in studiolo.__all__)
    (tmp_path / "names.py").write_text(f"import studiolo\n{names}\n")
    source = str(Path(studiolo.__file__).parents[1])
    settings = {
        "include": ["program.py", "names.py"],
        "extraPaths": [source],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        "reportUnnecessaryTypeIgnoreComment": "error",  # what is wrong in the program must be found
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [str(Path(sys.executable).with_name("pyright")), "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run([*command, "--outputjson"], capture_output=True, text=True, timeout=170)
    report = json.loads(done.stdout)
    found = [f"{fault['range']['start']['line'] + 1}: {fault['message']}" for fault in report["generalDiagnostics"]]
    assert (report["summary"]["filesAnalyzed"], found) == (2, [])
