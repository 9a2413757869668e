"""A decision model on the real engine: asked by the engine's own route, over the SDK and over HTTP."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import studiolo as lm
from studiolo.library.gguf_file import describe, read_header
from studiolo.paths import Home
from tests.support.homes import link_model
from tests.support.running import Server, serving

pytestmark = pytest.mark.slow

MODEL = "tiny-decision"
CITIES = ["Paris", "Rome", "Oslo"]
TEMPERATURE = 1.5
"""What the model's file has for questions with choices."""


@pytest.fixture(scope="module")
def server(decision_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = Home(tmp_path_factory.mktemp("decisions") / "home")
    home.root.mkdir()
    home.settings.write_text(f"[library]\nprograms = []\n[models.{MODEL}]\nload = {{ context_length = 512 }}\n")
    link_model(decision_model, home)
    with serving(home, home.root.parent, "--no-load") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[lm.Client]:
    with lm.Client(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def llm(client: lm.Client) -> lm.LLM:
    return client.llm.model(MODEL)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{server.address}", timeout=60) as http:
        yield http


def picture(colour: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, "PNG")
    return out.getvalue()


def letters(http: httpx.Client, prompt: str, count: int) -> list[float]:
    """The logarithms of the model's own probabilities of ``A``, ``B`` and so on after a prompt, plus a constant."""
    choices = [chr(ord("A") + index) for index in range(count)]
    answer = http.post("/v1/decisions", json={"model": MODEL, "prompt": prompt, "choices": choices}).json()
    return [math.log(answer["probabilities"][choice]) for choice in choices]


def prompt(context: str, question: str, options: list[tuple[str, str]]) -> str:
    """What the model's template makes of a question."""
    lines = [context, question, *(f"{key} {text}" for key, text in options), "Answer:"]
    return "\n".join(lines)


def test_its_header_says_that_a_model_decides(decision_model: Path, vision_model: Path) -> None:
    assert [describe(read_header(path)).decides for path in (decision_model, vision_model)] == [True, False]


def test_choices_are_the_letters_of_the_models_own_template(llm: lm.LLM, http: httpx.Client) -> None:
    found = llm.decide("Where is the Louvre?", CITIES, context="Museums.").probabilities
    scores = letters(http, prompt("Museums.", "Where is the Louvre?", [(city, "") for city in CITIES]), 3)
    for city, score in zip(CITIES, scores, strict=True):
        expected = (score - scores[0]) / TEMPERATURE
        assert math.log(found[city] / found["Paris"]) == pytest.approx(expected, abs=0.02)


def test_levels_and_truth_have_types_of_their_own(llm: lm.LLM, http: httpx.Client) -> None:
    levels = ["cold", "warm", "hot"]
    found = llm.decide("How warm?", lm.Levels(levels), context="Ice.")
    cold, _, hot = letters(http, prompt("Ice.", "How warm?", [(str(at), each) for at, each in enumerate(levels)]), 3)
    assert math.log(found.probabilities["hot"] / found.probabilities["cold"]) == pytest.approx(hot - cold, abs=0.02)
    assert found.level == pytest.approx(found.probabilities["warm"] + 2 * found.probabilities["hot"])
    truth = llm.decide("Is it cold?", context="Ice.").probabilities
    yes, no = letters(http, prompt("Ice.", "Is it cold?", [("true", ""), ("false", "")]), 2)
    assert math.log(truth[True] / truth[False]) == pytest.approx(yes - no, abs=0.02)
    eleven = llm.decide("How warm?", lm.Levels(range(11)), context="Ice.")
    assert eleven.level is not None and 0 < eleven.level < 10


def test_many_questions_are_answered_as_one_by_one(llm: lm.LLM) -> None:
    questions: list[Any] = [f"Is {number} even?" for number in range(20)]
    many = llm.decide_many([*questions, lm.Question("Where?", CITIES)], context="Numbers.")
    assert len(many) == 21 and many[20].choice in CITIES
    one = llm.decide("Is 7 even?", context="Numbers.")
    assert many[7].probabilities == pytest.approx(one.probabilities, abs=0.01)
    scaled = llm.decide("Is 7 even?", context="Numbers.", calibration=lm.Calibration(bias={"Yes": 1})).probabilities
    odds = math.log(one.probabilities[True] / one.probabilities[False])
    assert math.log(scaled[True] / scaled[False]) == pytest.approx(odds + 1, abs=0.01)


def test_a_chat_asks_by_its_last_message(llm: lm.LLM) -> None:
    chat = lm.Chat()
    chat.add_user_message("Museums.")
    chat.add_assistant_response("Which?")
    chat.add_user_message("Where is the Louvre?")
    assert set(llm.decide(chat, CITIES).probabilities) == set(CITIES)
    alone = llm.decide("Where is the Louvre?", CITIES).probabilities
    assert alone != pytest.approx(llm.decide(chat, CITIES).probabilities, abs=1e-6)


def test_it_sees_images(http: httpx.Client) -> None:
    def ask(colour: str) -> Any:
        url = f"data:image/png;base64,{base64.b64encode(picture(colour)).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Which?"}]
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "choices": CITIES}
        return http.post("/v1/decisions", json=body).json()["probabilities"]

    assert ask("red") == pytest.approx(ask("red"), abs=1e-4)
    assert ask("red") != pytest.approx(ask("blue"), abs=1e-4)


def test_more_choices_than_the_model_has_are_refused(llm: lm.LLM) -> None:
    with pytest.raises(lm.PredictionError) as caught:
        llm.decide("Which?", list(range(60)))
    assert "too many options (60)" in str(caught.value)
