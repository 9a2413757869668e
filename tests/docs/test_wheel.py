"""The wheel works in a bare environment: what it needs, its command, and plug-ins of another package.

Needs the package index, or uv's cache of it, for the dependencies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import studiolo

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

GROUPS = ("engines", "sources", "dialects")

PROGRAM = """
from studiolo import dialects, plugins
from studiolo.engines import registry
from studiolo.library import sources

BUILT_IN = {"llama.cpp", "llama-server", "file", "hf", "https", "pypi", "lmstudio"}
found = {
    name: point.load()
    for module in (dialects, registry, sources)
    for name, point in plugins.find(module.GROUP, module.BUILT_IN).items()
    if name != "example"
}
assert BUILT_IN <= set(found), sorted(found)
for module in (dialects, registry, sources):
    assert plugins.find(module.GROUP, module.BUILT_IN)["example"].load().__name__ == "Example", module.GROUP
"""


def run(*command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def plugin_wheel(folder: Path) -> Path:
    """Write the wheel of a package that registers an engine, a source and a dialect."""
    path = folder / "example_plugins-1.0-py3-none-any.whl"
    points = "".join(f"[studiolo.{group}]\nexample = example_plugins:Example\n" for group in GROUPS)
    info = "example_plugins-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("example_plugins.py", "class Example:\n    pass\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: example-plugins\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", points)
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built by the locked build tools."""
    folder = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "src"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    hatch = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(hatch, cwd=source, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"studiolo"}
    assert "studiolo/py.typed" in names
    assert "studiolo/library/catalog.toml" in names
    assert "Project-URL: " in metadata


@pytest.mark.model
def test_the_wheel_works_in_a_bare_environment(built: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    run(UV, "venv", "--quiet", "--python", sys.executable, environment)
    install = (UV, "pip", "install", "--quiet", "--python", binaries / "python")
    run(*install, "--constraint", ROOT / "requirements.lock", built)  # what the wheel itself asks for, and no more
    run(*install, "--no-deps", plugin_wheel(tmp_path))
    python = (binaries / "python", "-I")
    assert (
        run(*python, "-c", "import importlib.util as u; print(u.find_spec('pytest'), u.find_spec('mcp'))")
        == "None None"
    )
    location = run(*python, "-c", "import studiolo; print(studiolo.__file__)")
    assert Path(location).is_relative_to(environment)
    assert studiolo.__version__ in run(binaries / "studiolo", "--version")
    run(*python, "-c", PROGRAM)
    run(*python, "-c", "import studiolo\nfor name in studiolo.__all__: getattr(studiolo, name)")
