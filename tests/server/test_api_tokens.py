"""API tokens: which clients are accepted, and the file with the tokens."""

from __future__ import annotations

import hmac
import logging
import secrets
import string
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import lmstudio
import msgspec
import pytest

import studiolo as lm
from studiolo.credentials import ApiToken, new_api_token, parse_api_token
from studiolo.errors import AuthenticationError
from studiolo.paths import Home
from studiolo.server.token_file import ApiTokenFile, add_api_token, read_api_tokens
from tests.support.running import Server, environment, serving

pytestmark = [pytest.mark.quick_model, pytest.mark.slow]

WRONG = "sk-lm-aaaaaaaa:bbbbbbbbbbbbbbbbbbbb"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens") / "deep" / "tokens"


@pytest.fixture(scope="module")
def token(token_file: Path) -> ApiToken:
    return add_api_token(token_file)


@pytest.fixture(scope="module")
def server(token_file: Path, token: ApiToken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = Home(tmp_path_factory.mktemp("tokens-home"))
    home.settings.write_text(f'[library]\nprograms = []\n[server]\ntoken_file = "{token_file}"\n')
    with serving(home, home.root, "--no-load") as server:
        yield server


@pytest.fixture(autouse=True)
def _no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STUDIOLO_API_TOKEN", "LM_API_TOKEN", "LMSTUDIO_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_a_token_lets_in_and_nothing_else_does(server: Server, token: ApiToken) -> None:
    with lm.Client(server.address, api_token=f" {token}\n") as client:
        assert client.llm.list_loaded() == []
    halves = (f"sk-lm-{token.identifier}:{'b' * 20}", f"sk-lm-aaaaaaaa:{token.passkey}")
    for wrong in (None, WRONG, *halves):
        with lm.Client(server.address, wrong) as client:
            for names in (AuthenticationError, lm.LMStudioServerError):
                with pytest.raises(names, match=r"refused this client.*API token.*LM_API_TOKEN"):
                    client.llm.list_loaded()
    assert str(token) not in server.said() and token.passkey not in server.said()


async def test_the_async_client_and_the_environment(
    server: Server, token: ApiToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_API_TOKEN", str(token))
    async with lm.AsyncClient(server.address) as client:
        assert await client.list_loaded_models() == []
    monkeypatch.setenv("STUDIOLO_API_TOKEN", WRONG)  # ours goes first
    async with lm.AsyncClient(server.address) as client:
        with pytest.raises(AuthenticationError):
            await client.list_loaded_models()
    async with lm.AsyncClient(server.address, api_token=str(token)) as client:  # what is given goes before both
        assert await client.list_loaded_models() == []


@pytest.mark.parametrize("wrong", ["lm-studio", "sk-lm-short:x", WRONG + "x", "sk-lm-ääääääää:bbbbbbbbbbbbbbbbbbbb"])
def test_an_argument_that_is_no_token_is_refused_at_once_and_not_repeated(wrong: str) -> None:
    with pytest.raises(lm.LMStudioValueError, match="api_token is not an API token") as caught:
        lm.Client("127.0.0.1:1", api_token=wrong)
    assert wrong not in str(caught.value)


@pytest.mark.parametrize("name", ["STUDIOLO_API_TOKEN", "LM_API_TOKEN", "LMSTUDIO_API_TOKEN"])
@pytest.mark.parametrize("wrong", ["lm-studio", "", " ", WRONG + "x"])
def test_what_is_no_token_in_the_environment_matters_only_where_one_is_required(
    name: str, wrong: str, server: Server, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, wrong)
    with lm.Client("embedded") as client:
        assert client.list_loaded_models() == []
    said = rf"refused this client.*{name} is not an API token" if wrong.strip() else "refused this client"
    with pytest.raises(AuthenticationError, match=said) as caught:
        lm.Client(server.address).list_loaded_models()
    assert not wrong.strip() or wrong not in str(caught.value)


def test_a_server_that_requires_no_token_accepts_any(
    empty_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(empty_home, tmp_path, "--no-load") as server:
        for given in ("", None, WRONG):
            with lm.Client(server.address, given) as client:
                assert client.list_loaded_models() == []
        monkeypatch.setenv("LM_API_TOKEN", "lm-studio")
        with lm.Client(server.address, "") as client:
            assert client.list_loaded_models() == []


class WithToken(lmstudio.Client):
    """The official client of 1.5.0, with the handshake that later ones make of an ``api_token``."""

    def __init__(self, api_host: str, token: ApiToken) -> None:
        self._token = token
        super().__init__(api_host)

    def _create_auth_message(self) -> lmstudio.DictObject:
        return self._format_auth_message(self._token.identifier, self._token.passkey)


def test_the_official_python_client(server: Server, token: ApiToken) -> None:
    with WithToken(server.address, token) as client:
        assert client.list_loaded_models() == []
    with lmstudio.Client(server.address) as client, pytest.raises(ValueError, match="dictionary update sequence"):
        client.list_loaded_models()  # its own mistake: it takes the reason, which is a text on the wire, for a dict


def test_the_programs_default_client_and_the_command_line(server: Server, token: ApiToken, empty_home: Home) -> None:
    program = (
        "import studiolo as lm, sys\n"
        "lm.configure_default_client(sys.argv[1], api_token=sys.argv[2])\n"
        "print(lm.list_loaded_models())"
    )
    there = environment(empty_home, STUDIOLO_HOST=server.address)
    for command, more, status, said in (
        (["-W", "error", "-c", program, server.address, str(token)], {}, 0, "[]"),
        (["-m", "studiolo", "ps", "--json"], {"LM_API_TOKEN": str(token)}, 0, "[]"),
        (["-m", "studiolo", "ps"], {}, 1, "LM_API_TOKEN"),
        (["-m", "studiolo", "server", "token", str(empty_home.root / "mine")], {}, 0, "sk-lm-"),
    ):
        done = subprocess.run(
            [sys.executable, *command], env={**there, **more}, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done
    assert read_api_tokens(empty_home.root / "mine") == [parse_api_token(done.stdout, "what was printed")]


def test_health_answers_everyone_and_lists_instances_with_a_token(server: Server, token: ApiToken) -> None:
    for header, reported in ((f"Bearer {token}", True), (f"Bearer {WRONG}", False), (str(token), False), ("", False)):
        request = urllib.request.Request(f"http://{server.address}/health", headers={"Authorization": header})
        with urllib.request.urlopen(request, timeout=30) as answer:
            health = msgspec.json.decode(answer.read())
        assert (health["status"], "instances" in health) == ("ok", reported)


def test_a_changed_file_counts_and_one_that_is_wrong_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text("# mine\n\n")
    first = add_api_token(path)
    file = ApiTokenFile(path)
    path.write_text(path.read_text().rstrip("\n"))  # an editor that ends no line
    second = add_api_token(path)
    lines = path.read_text().splitlines()
    assert [line for line in lines if " created " not in line] == ["# mine", "", str(first), str(second)]
    assert file.accepts(*first) and file.accepts(*second) and not file.accepts(first.identifier, second.passkey)
    path.write_text(f"{second}\n")
    assert not file.accepts(*first) and file.accepts(*second)
    path.chmod(0o640)
    with caplog.at_level(logging.ERROR):
        assert not file.accepts(*second)
        assert not file.accepts(*second)
    assert len(caplog.records) == 1 and "chmod 600" in caplog.text
    path.chmod(0o600)
    assert file.accepts(*second)
    path.unlink()
    assert not file.accepts(*second)


def test_a_token_is_listed_with_its_name_and_revoked_in_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, link = tmp_path / "tokens", tmp_path / "link"
    first = add_api_token(path, f"  my\nlaptop\u2028{WRONG}\ud800" + "x" * 100)
    with path.open("a") as file:
        file.write(f"# of the user: {first.identifier}\n  {WRONG}\r\n")  # by hand
    link.symlink_to(path)
    file, before = ApiTokenFile(link), path.stat()
    with caplog.at_level(logging.INFO):
        second = parse_api_token(file.create(""), "it")
        listed = {each.identifier: each for each in file.listed()}
        assert [*listed] == [first.identifier, "aaaaaaaa", second.identifier]
        assert listed[first.identifier].name == f"my laptop {WRONG} {'x' * 14}"
        assert listed[second.identifier].name == listed["aaaaaaaa"].created == ""
        assert listed[first.identifier].created == listed[second.identifier].created != ""
        file.revoke("aaaaaaaa")
        file.revoke(first.identifier)
    assert not file.accepts(*first) and not file.has("aaaaaaaa") and file.accepts(*second)
    text = path.read_bytes().decode()
    assert first.passkey not in text and f"# of the user: {first.identifier}\n  # aaaaaaaa was revoked" in text
    after = path.stat()
    assert link.is_symlink() and (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert "was created" in caplog.text and "was revoked" in caplog.text and second.passkey not in caplog.text
    for identifier, said in ((second.identifier, "is the last API token"), ("aaaaaaaa", "There is no API token")):
        with pytest.raises(lm.ConfigError, match=said):
            file.revoke(identifier)
    assert file.accepts(*second)


def test_a_server_does_not_start_with_a_file_that_is_wrong(empty_home: Home, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    with pytest.raises(lm.ConfigError, match="studiolo server token"):
        ApiTokenFile(path)
    path.touch(0o600)
    with pytest.raises(lm.ConfigError, match="no API token"):
        ApiTokenFile(path)
    path.write_text(f"{new_api_token()}\nnonsense-secret\n")
    with pytest.raises(lm.ConfigError, match="Line 2") as caught:
        ApiTokenFile(path)
    assert "nonsense-secret" not in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(lm.ConfigError, match="is not UTF-8"):
        ApiTokenFile(path)
    path.write_text(f"{new_api_token()}\n")
    path.chmod(0o644)
    command = [sys.executable, "-m", "studiolo", "serve", "--port", "0", "--no-load", "--token-file", str(path)]
    done = subprocess.run(command, env=environment(empty_home), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "chmod 600" in done.stderr and "Traceback" not in done.stderr


def test_an_api_token_is_28_random_letters_and_digits_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    choice = secrets.choice
    monkeypatch.setattr(secrets, "choice", lambda letters: drawn.append(letters) or choice(letters))
    token = add_api_token(tmp_path / "tokens")
    assert drawn == [string.ascii_letters + string.digits] * 28
    assert len({str(new_api_token()) for _ in range(100)}) == 100
    file, compared = ApiTokenFile(tmp_path / "tokens"), []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))
    other = new_api_token()
    assert file.accepts(token.identifier, token.passkey) and not file.accepts(other.identifier, other.passkey)
    assert [len(known) for known, _ in compared] == [29, 29]


def test_a_token_does_not_show_itself_in_a_repr() -> None:
    token = new_api_token()
    assert token.passkey not in repr(token) and token == parse_api_token(str(token), "it")
