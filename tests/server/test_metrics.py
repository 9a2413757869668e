"""The figures of ``GET /metrics``, on the fake engine; what the documentation and the dashboard name is among them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import studiolo_fake_engine as fake

from studiolo.host.totals import MAX_MODELS, OTHERS, Totals
from studiolo.paths import Home
from studiolo.server.token_file import ApiTokenFile, add_api_token
from tests.support.fake_host import SETTINGS as FAKE_ENGINE
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread, serving_in_thread

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
SAMPLE = re.compile(r'(studiolo_\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? ([-+.\de]+)')


@pytest.fixture
def server(empty_home: Home) -> Iterator[ServerInThread]:
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(FAKE_ENGINE)
    fake.reset()
    with serving_in_thread() as server:
        yield server
    fake.reset()


def figures(server: ServerInThread) -> dict[str, float]:
    """Return the values of ``/metrics`` by name and labels. Every line must have the format."""
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not re.match(r"# (HELP|TYPE) studiolo_\w+ .+", line)]
    found = [SAMPLE.fullmatch(line) for line in lines]
    assert all(found) and answer.text.endswith("\n")
    return {f"{match[1]}{{{match[2] or ''}}}": float(match[3]) for match in found if match is not None}


def ask(server: ServerInThread) -> httpx.Response:
    body = {"model": "alpha", "messages": [{"role": "user", "content": "one two three"}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


def test_predictions_and_crashes_are_counted_on_a_fake_engine(server: ServerInThread) -> None:
    before = figures(server)
    assert 'studiolo_predictions_total{model="alpha",stop_reason="end_of_text"}' not in before
    usage = ask(server).json()["usage"]
    ask(server)
    fake.models["alpha"].dies_after = 0
    assert ask(server).status_code >= 500
    found = figures(server)
    assert found['studiolo_predictions_total{model="alpha",stop_reason="end_of_text"}'] == 2
    assert found['studiolo_prompt_tokens_total{model="alpha"}'] == 2 * usage["prompt_tokens"]
    assert found['studiolo_generated_tokens_total{model="alpha"}'] == 2 * usage["completion_tokens"]
    assert found['studiolo_first_token_seconds_count{model="alpha"}'] == 2
    total = found['studiolo_prediction_seconds_sum{model="alpha"}']
    assert 0 < found['studiolo_first_token_seconds_sum{model="alpha"}'] <= total
    assert found['studiolo_engine_crashes_total{model="alpha"}'] >= 1
    assert sum(value for name, value in found.items() if "prediction_errors_total" in name) == 1
    assert found['studiolo_predictions_running{instance_name="alpha",model="alpha"}'] == 0
    assert sum(value for name, value in found.items() if name.startswith("studiolo_instances{")) == 1


def test_what_the_documentation_and_the_dashboard_query_is_exported_on_a_fake_engine(server: ServerInThread) -> None:
    fake.models["alpha"].dies_after = 0
    ask(server)
    fake.models["alpha"].dies_after = None
    ask(server)
    exported = {name.partition("{")[0] for name in figures(server)}
    dashboard = json.loads((DOCS / "operations" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queried = set(re.findall(r"studiolo_\w+", " ".join(expressions)))
    assert queried and queried <= exported
    page = (DOCS / "operations.md").read_text().replace("_sum`, `_count`", "_sum`")
    documented = set(re.findall(r"`(studiolo_\w+)`", page))
    assert documented == {name for name in exported if not name.endswith("_count")}
    labels = {label for name in figures(server) for label in re.findall(r"(\w+)=", name)}
    used = re.findall(r"by \((\w+)\)|\{\{(\w+)\}\}", json.dumps(dashboard["panels"]))
    assert {name for pair in used for name in pair if name} <= labels


def test_metrics_need_the_api_token_on_a_fake_engine(empty_home: Home, tmp_path: Path) -> None:
    empty_home.settings.write_text(FAKE_ENGINE)
    token = add_api_token(tmp_path / "tokens")
    with serving_in_thread(ApiTokenFile(tmp_path / "tokens")) as server:
        assert httpx.get(f"{server.url}/metrics").status_code == 401
        given = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{server.url}/metrics", headers=given).text.startswith("# HELP studiolo_info")


def test_a_bounded_number_of_models_is_counted_apart() -> None:
    totals = Totals()
    for number in range(MAX_MODELS + 5):
        totals.of(str(number)).crashes += 1
    assert len(totals.models) == MAX_MODELS + 1 and totals.models[OTHERS].crashes == 5
