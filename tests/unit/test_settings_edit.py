"""Presets are written into the settings file; everything else in it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from studiolo.config import PredictionConfig, explicit_fields, prediction_config
from studiolo.errors import ConfigError
from studiolo.settings import read_settings
from studiolo.settings_edit import save_preset


def test_a_preset_is_written_and_overwritten_beside_the_others(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n[presets.precise]\ntemperature = 0 # cold\n\n[server]\nport = 5000\n")
    schema = {"type": "object", "properties": {"a": {"enum": ["x", 1]}}}
    given = prediction_config(
        {
            "temperature": 0.25,
            "top_k": 3,
            "system_prompt": 'Be "brief".\nYes.',
            "stop_strings": ["a", "b"],
            "max_tokens": False,
            "structured": {"type": "json", "json_schema": schema},
        }
    )
    save_preset(path, 'my "best" set.1', given)
    found = read_settings(path)
    assert explicit_fields(found.presets['my "best" set.1']) == explicit_fields(given)
    assert found.presets["precise"].temperature == 0 and found.server.port == 5000
    save_preset(path, 'my "best" set.1', PredictionConfig(temperature=1.0))
    found = read_settings(path)
    assert explicit_fields(found.presets['my "best" set.1']) == {"temperature": 1.0}
    assert [*found.presets] == ["precise", 'my "best" set.1']
    assert "# mine" in path.read_text() and "# cold" in path.read_text()
    save_preset(tmp_path / "new" / "config.toml", "first", given)
    assert [*read_settings(tmp_path / "new" / "config.toml").presets] == ["first"]


def test_a_file_of_a_windows_editor_keeps_its_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf# mine\r\n[server]\r\nport = 5000\r\n")
    save_preset(path, "cold", PredictionConfig(temperature=0.0))
    found = read_settings(path)
    assert found.server.port == 5000 and found.presets["cold"].temperature == 0
    assert b"# mine\r\n[server]\r\nport = 5000\r\n" in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("", {"temperature": 1}, "not a name"),
        ("a\nb", {"temperature": 1}, "not a name"),
        ("x" * 61, {"temperature": 1}, "not a name"),
        ("a", {}, "Nothing is set"),
        ("a", {"structured": {"type": "json", "json_schema": {"enum": [None]}}}, "no null, which structured contains"),
    ],
)
def test_what_cannot_be_a_preset_changes_nothing(
    tmp_path: Path, name: str, config: dict[str, object], said: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    with pytest.raises(ConfigError, match=said):
        save_preset(path, name, prediction_config(config))
    assert path.read_text() == "# mine\n" and [*tmp_path.iterdir()] == [path]
