"""The figures of ``GET /metrics``, on the fake engine; what the documentation and the dashboard name is among them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import studiolo_fake_engine as fake

import studiolo as lm
from studiolo.host.totals import MAX_MODELS, OTHERS, Totals
from studiolo.paths import Home
from studiolo.server.token_file import ApiTokenFile, add_api_token
from tests.support.fake_host import SETTINGS as FAKE_ENGINE
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread, serving_in_thread
from tests.support.models.audio import tone
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
KEY = "text-embedding-vectors"
"""The key of the embedding model ``vectors``."""
SAMPLE = re.compile(r'(studiolo_\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? ([-+.\de]+)')


@pytest.fixture
def server(empty_home: Home) -> Iterator[ServerInThread]:
    for name in ("alpha", "beta"):
        add_model(empty_home, name)
    add_model(empty_home, "ears", audio=True)
    add_model(empty_home, "vectors", architecture="bert")
    empty_home.settings.write_text(FAKE_ENGINE)
    fake.reset()
    with serving_in_thread() as server:
        yield server
    fake.reset()


def figures(server: ServerInThread) -> dict[str, float]:
    """Return the values of ``/metrics`` by name and labels. Every line must have the format."""
    answer = httpx.get(f"{server.url}/metrics", timeout=60)
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


def post(server: ServerInThread, path: str, model: str, **body: object) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json={"model": model, **body}, timeout=60)


def test_other_requests_and_loads_are_counted_on_a_fake_engine(server: ServerInThread) -> None:
    assert post(server, "/v1/embeddings", "vectors", input=["one two", "three"]).is_success
    assert post(server, "/api/embed", "vectors", input="one").is_success
    assert not post(server, "/v1/embeddings", "vectors", input="one " * 9000).is_success
    hi = [{"role": "user", "content": "one two three"}]
    assert post(server, "/v1/messages/count_tokens", "alpha", messages=hi).is_success
    with lm.Client(server.url.removeprefix("http://")) as client:
        assert len(client.llm.model("alpha").tokenize("one two")) == 2
    refused = post(server, "/v1/decisions", "alpha", prompt="one", choices=["two", "three"])
    assert not refused.is_success  # the fake engine has no grammars
    files = {"file": ("speech.wav", tone(seconds=1))}
    heard = httpx.post(f"{server.url}/v1/audio/transcriptions", data={"model": "ears"}, files=files, timeout=60)
    assert heard.is_success
    fake.models["beta"].load_fails = True
    assert not post(server, "/v1/completions", "beta", prompt="one").is_success
    found = figures(server)

    def of(name: str, model: str, kind: str) -> float:
        return found[f'studiolo_{name}{{model="{model}",kind="{kind}"}}']

    assert of("requests_total", KEY, "embedding") == of("request_seconds_count", KEY, "embedding") == 2
    assert of("request_tokens_total", KEY, "embedding") == 4 and of("requests_total", "alpha", "tokenizing") == 2
    assert of("request_tokens_total", "alpha", "tokenizing") == 5 and of("requests_total", "ears", "transcription") == 1
    assert of("requests_total", "alpha", "decision") == 0 < of("request_seconds_sum", "ears", "transcription")
    errors = {name: value for name, value in found.items() if "request_errors_total" in name}
    assert sorted(errors.values()) == [1, 1] and all('kind="' in name and 'code="' in name for name in errors)
    for model, count in {"alpha": 1, "beta": 0, KEY: 1}.items():
        assert found[f'studiolo_loads_total{{model="{model}"}}'] == count
        assert found[f'studiolo_load_seconds_count{{model="{model}"}}'] == count
    assert found['studiolo_load_seconds_sum{model="alpha"}'] > 0
    assert [value for name, value in found.items() if "load_errors_total" in name and "beta" in name] == [1]
    assert found['studiolo_predictions_total{model="ears",stop_reason="end_of_text"}'] == 1


def test_a_reranking_is_counted_and_a_load_that_is_given_up_on_a_fake_engine(server: ServerInThread) -> None:
    with server.host.home.settings.open("a") as settings:
        settings.write('\n[models."vectors"]\nload = { pooling_type = "rank" }\n')
    assert post(server, "/v1/rerank", "vectors", query="one", documents=["one two", "three"]).is_success
    fake.models["alpha"].load = fake.Step(30)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/completions", json={"model": "alpha", "prompt": "one"}, timeout=0.3)
    given_up = 'studiolo_load_errors_total{model="alpha",code="studiolo.cancelled"}'
    wait_until(lambda: given_up in figures(server), "the end of the load")
    found = figures(server)
    assert found['studiolo_requests_total{model="text-embedding-vectors",kind="reranking"}'] == 1
    assert found['studiolo_request_tokens_total{model="text-embedding-vectors",kind="reranking"}'] == 5


def test_what_the_documentation_and_the_dashboard_query_is_exported_on_a_fake_engine(server: ServerInThread) -> None:
    assert not post(server, "/v1/embeddings", "vectors", input="one " * 9000).is_success
    fake.models["beta"].load_fails = True
    assert not post(server, "/v1/completions", "beta", prompt="one").is_success
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
