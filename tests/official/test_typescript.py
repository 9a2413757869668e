"""The official TypeScript client over the features of a host: each check of ``typescript/*.mjs`` is a test here."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import pytest

from studiolo.paths import Home
from tests.support.running import Server
from tests.support.typescript_clients import PROGRAMS, VERSIONS, installed, public_methods, run

pytestmark = [
    pytest.mark.quick_model,
    pytest.mark.server(
        models=["embedding_model"],
        environment={"HF_HUB_OFFLINE": "1"},  # what is searched is the catalog
    ),
]


def checks_of(program: str) -> list[str]:
    """The names of the checks in a program."""
    return re.findall(r"^  async (\w+)\(\)", (PROGRAMS / program).read_text(), re.MULTILINE)


def results(program: str, folder: Path, server: Server, *arguments: str) -> dict[str, str]:
    """Return the outcome of each check of a program."""
    reported = run(folder, program, server.address, *arguments)
    return json.loads(reported.splitlines()[-1])


PREDICTION_CHECKS = checks_of("predictions.mjs")
OLDER_PREDICTION_CHECKS = [
    "sampling_down_to_one_token",
    "callbacks_in_order",
    "cancel_keeps_what_was_said",
    "structured_with_zod",
    "act_without_tools_called",
    "errors_name_what_was_wrong",
]
"""One of each kind. The older client differs in no other way: every call of both is made by ``calls.mjs``."""


@pytest.fixture(scope="module")
def predictions(server: Server, cache_home: Home) -> dict[str, dict[str, str]]:
    """The results of each version: of all checks with the newest, of some with the older."""
    older, newest = (installed(version, cache_home.root) for version in VERSIONS)
    return {
        VERSIONS[0]: results("predictions.mjs", older, server, *OLDER_PREDICTION_CHECKS),
        VERSIONS[1]: results("predictions.mjs", newest, server),
    }


@pytest.fixture(scope="module")
def models(server: Server, typescript_client: Path) -> dict[str, str]:
    return results("models.mjs", typescript_client, server)


@pytest.mark.parametrize(
    ("version", "check"),
    [*product(VERSIONS[:1], OLDER_PREDICTION_CHECKS), *product(VERSIONS[1:], PREDICTION_CHECKS)],
)
def test_predictions(version: str, check: str, predictions: dict[str, dict[str, str]]) -> None:
    assert predictions[version][check] == "passed"


@pytest.mark.parametrize("check", checks_of("models.mjs"))
def test_models(check: str, models: dict[str, str]) -> None:
    assert models[check] == "passed"


@pytest.fixture(scope="module")
def calls(server: Server, typescript_client: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = tmp_path_factory.mktemp("calls") / "cat.txt"
    file.write_text("A cat sleeps.\n")
    return results("calls.mjs", typescript_client, server, str(file))


def test_every_public_method_of_the_client_is_called(calls: dict[str, str], typescript_client: Path) -> None:
    assert set(calls) == public_methods(typescript_client)
    assert len(calls) > 60


@pytest.mark.parametrize("method", re.findall(r'async "([^"]+)"', (PROGRAMS / "calls.mjs").read_text()))
def test_calls(method: str, calls: dict[str, str], typescript_client: Path) -> None:
    """A method that this version of the client lacks is not called."""
    expected = "passed" if method in public_methods(typescript_client) else None
    assert calls.get(method) == expected
