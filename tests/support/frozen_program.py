"""Freeze a program by PyInstaller, and let it predict; run by ``make frozen``.

It takes two minutes, too long for the tests. PyInstaller is put into an environment of its own in the tests' cache at
the first run. The options are those that docs/getting-started.md names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from studiolo.dialects import BUILT_IN as DIALECTS
from studiolo.engines.registry import BUILT_IN as ENGINES
from studiolo.paths import Home
from studiolo.platform.interpreter import VARIABLE
from tests.support.frameworks import python_of
from tests.support.homes import new_home
from tests.support.model_cache import cache_folder, fetch_default_model, quick_models
from tests.support.running import environment

PROGRAM = """
import json, sys
import studiolo as lm
from studiolo import dialects
from studiolo.engines import registry
from studiolo.library.sources import source_names
from studiolo.plugins import find

found = {"frozen": getattr(sys, "frozen", False), "text": "", "error": ""}
for module in (dialects, registry):
    found[module.__name__] = sorted(find(module.GROUP, module.BUILT_IN))
found["sources"] = source_names()
try:
    with lm.Client("embedded") as client:
        llm = client.llm.model("smollm2-135m-instruct", config={"context_length": 256, "max_parallel_predictions": 1})
        found["text"] = llm.respond("My name is", config={"max_tokens": 5, "temperature": 0}).content
except lm.StudioloError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""

OPTIONS = (
    *("--collect-submodules", "studiolo", "--collect-data", "studiolo"),
    *("--collect-data", "llguidance", "--hidden-import", "gguf", "--copy-metadata", "xllamacpp"),
)
"""What a program that imports studiolo needs."""

LEFT_OUT = (
    *("IPython", "anthropic", "debugpy", "docx", "hypothesis", "jedi", "lmstudio", "matplotlib", "mkdocs", "nicegui"),
    *("ollama", "openai", "playwright", "psycopg", "pypdf", "pytest", "xllamacpp"),
)
"""Packages of this environment that the program does not need; the engine's runs in the other interpreter."""


def main() -> int:
    """Freeze the program; compare what it says with an interpreter for the workers and without. Return the status."""
    cached = Home(cache_folder())
    fetch_default_model(cached)
    pyinstaller = python_of("frozen", cached.root, Path(__file__).with_name("frozen.in"))
    places = next((pyinstaller.parents[1] / "lib").glob("python*/site-packages"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = new_home(folder, quick_models(cached))
        (folder / "program.py").write_text(PROGRAM)
        command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", *OPTIONS]
        command += [each for package in LEFT_OUT for each in ("--exclude-module", package)]
        variables = {**os.environ, "PYTHONPATH": str(places)}  # it looks for packages where it runs itself
        subprocess.run([*command, "program.py"], cwd=folder, env=variables, check=True)

        def said(*program: str, **more: str) -> dict[str, Any]:
            own = environment(home, STUDIOLO_HOST="embedded", **more)
            done = subprocess.run(program, cwd=folder, env=own, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        plain = said(sys.executable, "program.py")
        frozen = str(folder / "dist" / "program" / "program")
        alone, helped = said(frozen), said(frozen, **{VARIABLE: sys.executable})
    print(json.dumps({"plain": plain, "frozen": helped, "frozen, without an interpreter": alone}, indent=1))
    registered = {*helped["studiolo.dialects"], *helped["studiolo.engines.registry"]}
    right = plain["text"] != "" and helped == {**plain, "frozen": True} and registered >= {*DIALECTS, *ENGINES}
    return 0 if right and VARIABLE in alone["error"] and alone["text"] == "" else 1


if __name__ == "__main__":
    sys.exit(main())
