"""What a server is asked for: addresses open to other machines need API tokens; options are compared and passed on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from studiolo.errors import ConfigError
from studiolo.paths import Home
from studiolo.server import listeners
from studiolo.server.daemon import _check_in_force
from studiolo.server.daemon_record import DaemonError, DaemonRecord, record_path
from studiolo.server.listeners import listen, resolves_to_loopback
from studiolo.server.serve_options import ServeOptions, listening
from studiolo.settings import ServerSettings
from tests.support.command_line import run
from tests.support.running import serving

pytestmark = pytest.mark.slow

OPEN = ["0.0.0.0", "::", "[::]", "192.0.2.7", "fe80::1", "box.invalid"]


@pytest.mark.parametrize("host", OPEN)
def test_an_address_open_to_other_machines_needs_an_api_token_or_no_auth(host: str) -> None:
    for options, settings in (
        (ServeOptions(host=host), ServerSettings()),
        (ServeOptions(), ServerSettings(host=host)),
    ):
        with pytest.raises(ConfigError, match=r"open to other machines.*--token-file.*--no-auth"):
            listening(options, settings)
    assert listening(ServeOptions(host=host, no_auth=True), ServerSettings()).token_file is None
    assert listening(ServeOptions(host=host, token_file="t"), ServerSettings()).token_file == "t"
    assert listening(ServeOptions(host=host), ServerSettings(token_file="t")).token_file == "t"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "[::1]", "localhost"])
def test_a_loopback_address_needs_none(host: str) -> None:
    at = listening(ServeOptions(host=host), ServerSettings())
    assert at.is_loopback and at.token_file is None


def test_no_auth_goes_before_the_settings_and_contradicts_the_option() -> None:
    assert listening(ServeOptions(no_auth=True), ServerSettings(token_file="t")).token_file is None
    with pytest.raises(ConfigError, match="contradict"):
        listening(ServeOptions(no_auth=True, token_file="t"), ServerSettings())


def test_the_commands_refuse_an_open_address_without_a_token(empty_home: Home) -> None:
    for words in (["serve"], ["server", "start"], ["server", "restart"]):
        done = run(empty_home, *words, "--host", "0.0.0.0", "--port", "0", "--no-load")
        assert done.returncode == 1, done.stderr
        assert "--token-file" in done.stderr and "--no-auth" in done.stderr and "Traceback" not in done.stderr
    assert not record_path(empty_home).exists()


def test_no_auth_serves_an_open_address(empty_home: Home, tmp_path: Path) -> None:
    with serving(empty_home, tmp_path, "--host", "0.0.0.0", "--no-auth", "--no-load") as server:
        assert "Anyone who reaches this address" in server.said()
        import studiolo as lm

        with lm.Client(f"http://{server.address}") as client:  # what it prints can be given to a client
            assert client.list_loaded_models() == []


async def test_every_address_of_a_name_is_listened_at_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(listeners, "_addresses", lambda host, port: both)
    opened = await listen("both.test", 0)
    try:
        assert {each.getsockname()[0] for each in opened} == {"::1", "127.0.0.1"}
        assert len({each.getsockname()[1] for each in opened}) == 1
    finally:
        for each in opened:
            each.close()


def test_a_name_with_one_address_of_another_network_is_not_loopback_by_a_stub(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", (address, 0)) for address in ("127.0.0.1", "192.0.2.7")]
    monkeypatch.setattr(listeners, "_addresses", lambda host, port: found)
    assert not resolves_to_loopback("mixed.test")
    monkeypatch.setattr(listeners, "_addresses", lambda host, port: found[:1])
    assert resolves_to_loopback("mixed.test")


def test_the_command_line_of_options() -> None:
    options = ServeOptions(
        host="::1", port=0, load=False, sdk_port=True, no_auth=True, allow_origin=["a", "b"], token_file="/t"
    )
    assert options.command_line() == [
        *("--host", "::1", "--port", "0", "--no-load", "--sdk-port", "--token-file", "/t", "--no-auth"),
        *("--allow-origin", "a", "--allow-origin", "b"),
    ]
    assert ServeOptions().command_line() == []


@pytest.mark.parametrize(
    ("given", "in_force"),
    [
        ([], True),
        (["--port", "5000"], True),
        (["--port", "5000", "--load"], True),
        (["--host", "127.0.0.1"], True),
        (["--port", "5000", "--allow-origin", "https://a"], True),
        (["--port", "5001"], False),
        (["--host", "::1"], False),
        (["--token-file", "/t"], False),
        (["--model", "m"], False),
        (["--no-load"], False),
        (["--no-auth"], False),
        (["--allow-origin", "https://b"], False),
    ],
)
def test_a_server_that_runs_is_not_taken_for_one_with_other_options(given: list[str], in_force: bool) -> None:
    options = ["--port", "5000", "--allow-origin", "https://a"]
    record = DaemonRecord(pid=1, created=0.0, address="127.0.0.1:5000", options=options)
    if in_force:
        _check_in_force(record, given)
    else:
        with pytest.raises(DaemonError, match="with other options") as caught:
            _check_in_force(record, given)
        for part in (*options, *given, f"studiolo server restart {' '.join(given)}"):
            assert part in str(caught.value)
