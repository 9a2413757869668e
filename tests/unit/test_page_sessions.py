"""Links and sessions of the pages: signed texts that expire, for one port, for an owner that is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from studiolo.errors import ConfigError
from studiolo.paths import Home
from studiolo.server.pages.key import create_key, read_key
from studiolo.server.pages.sessions import LINK_SEC, SESSION_SEC, PageSessions, sign_link

KEY = b"1" * 64


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sessions(clock: Clock, owners: set[str] | None = None) -> PageSessions:
    return PageSessions(lambda owner: owner in (owners or set()), clock)


def test_a_link_begins_a_session_once(clock: Clock) -> None:
    known = sessions(clock)
    code = sign_link(KEY, 1234, now=clock.now)
    cookie = known.begin(KEY, 1234, code)
    assert cookie is not None
    assert known.owner(KEY, 1234, cookie) == ""
    assert known.begin(KEY, 1234, code) is None


def test_a_link_and_a_session_expire(clock: Clock) -> None:
    known = sessions(clock)
    code, other = (sign_link(KEY, 1234, now=clock.now) for _ in range(2))
    clock.now += LINK_SEC - 1
    cookie = known.begin(KEY, 1234, code)
    assert cookie is not None
    clock.now += 2
    assert known.begin(KEY, 1234, other) is None
    clock.now += SESSION_SEC - 3
    assert known.owner(KEY, 1234, cookie) == ""
    clock.now += 2
    assert known.owner(KEY, 1234, cookie) is None


def test_a_link_is_for_one_port_and_one_key(clock: Clock) -> None:
    known = sessions(clock)
    code = sign_link(KEY, 1234, now=clock.now)
    assert known.begin(KEY, 1235, code) is None
    assert known.begin(b"2" * 64, 1234, code) is None
    cookie = known.begin(KEY, 1234, code)
    assert cookie is not None
    assert known.owner(KEY, 1235, cookie) is None
    assert known.owner(b"2" * 64, 1234, cookie) is None
    assert known.begin(KEY, 1234, cookie) is None


def test_a_link_of_before_the_server_is_refused_because_it_may_have_been_used(clock: Clock) -> None:
    code = sign_link(KEY, 1234, now=clock.now)
    clock.now += 10
    assert sessions(clock).begin(KEY, 1234, code) is None


def test_a_session_outlives_the_server_and_ends_with_its_api_token(clock: Clock) -> None:
    owners = {"abcdefgh"}
    cookie = sessions(clock, owners).begin(KEY, 1234, sign_link(KEY, 1234, "abcdefgh", clock.now))
    assert cookie is not None
    known = sessions(clock, owners)
    assert known.owner(KEY, 1234, cookie) == "abcdefgh"
    owners.clear()
    assert sessions(clock, owners).owner(KEY, 1234, cookie) is None


@pytest.mark.parametrize("text", ["", "x", "1..0.0", "9" * 13 + "..." + "0" * 97, "\ud800", "1.abc." + "0" * 97])
def test_other_texts_are_no_session(clock: Clock, text: str) -> None:
    assert sessions(clock).owner(KEY, 1234, text) is None
    assert sessions(clock).begin(KEY, 1234, text) is None


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert read_key(home) is None
    key = create_key(home)
    assert create_key(home) == read_key(home) == key
    assert home.page_key.stat().st_mode & 0o077 == 0
    home.page_key.chmod(0o644)
    with pytest.raises(ConfigError, match="Other users can read"):
        read_key(home)
    home.page_key.chmod(0o600)
    home.page_key.write_bytes(b"short")
    with pytest.raises(ConfigError, match="is not a key"):
        create_key(home)
