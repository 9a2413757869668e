"""Plug-ins: built-in ones, those of other packages, and names that two packages register."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import studiolo
from studiolo.plugins import find

BUILT_IN = {"one": "json:loads", "two": "json:dumps"}


def install(site: Path, name: str, group: str, plugins: dict[str, str]) -> None:
    """Write the metadata of an installed package, which is all that entry points are read from."""
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    folder.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{key} = {value}" for key, value in plugins.items())]
    folder.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")


def test_other_packages_add_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "other", "studiolo.tests", {"three": "json:dump"})
    monkeypatch.syspath_prepend(tmp_path)
    found = find("studiolo.tests", BUILT_IN)
    import json

    assert {name: point.load() for name, point in found.items()} == {
        "one": json.loads,
        "two": json.dumps,
        "three": json.dump,
    }
    assert sorted(find("studiolo.others", BUILT_IN)) == ["one", "two"]


def test_no_package_replaces_a_built_in_plugin_or_that_of_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path / "a", "first", "studiolo.tests", {"three": "json:dump"})
    install(
        tmp_path / "b", "second", "studiolo.tests", {"one": "os:remove", "three": "json:load", "two": BUILT_IN["two"]}
    )
    monkeypatch.syspath_prepend(tmp_path / "b")
    monkeypatch.syspath_prepend(tmp_path / "a")
    with caplog.at_level(logging.WARNING):
        found = find("studiolo.tests", BUILT_IN)
    assert {name: point.value for name, point in found.items()} == {**BUILT_IN, "three": "json:dump"}
    ignored = [record.getMessage() for record in caplog.records]
    assert len(ignored) == 2, "a package that registers the built-in plug-in itself is nothing to warn of"
    assert all("second" in each for each in ignored)
    assert any("'one'" in each and "os:remove" in each for each in ignored)


_LIST = """
from importlib.metadata import entry_points
for group in ("studiolo.engines", "studiolo.sources", "studiolo.dialects"):
    assert not entry_points(group=group), group
from studiolo.library.sources import parse, source_names
print(*source_names())
print(type(parse({"type": "file", "path": "/a.gguf"})[0]).__name__)
from studiolo.engines.registry import EngineKinds
from studiolo.engines.spec import Node
from studiolo.settings import EngineSettings
from pathlib import Path
here = Path()
kinds = EngineKinds(Node(name="here", models=here, logs=here, run=lambda: here, settings=EngineSettings))
print(*kinds.names)
print(*(type(kinds.kind(name)).__name__ for name in kinds.names))
"""


def test_built_in_plugins_are_found_without_an_installed_package(tmp_path: Path) -> None:
    shutil.copytree(Path(studiolo.__file__).parent, tmp_path / "src/studiolo")
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if "studiolo" not in each.name and each.suffix != ".pth":
            dependencies.joinpath(each.name).symlink_to(each)
    paths = f"import sys; sys.path += [{str(tmp_path / 'src')!r}, {str(dependencies)!r}]\n"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", paths + _LIST], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "file hf https pypi",
        "FileSource",
        "llama-server llama.cpp",
        "LlamaServerKind LlamaCppKind",
    ], done.stderr
