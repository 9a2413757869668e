"""Decisions against constrained generation: accuracy, calibration and speed.

Run as ``python -m bench.decisions``. The texts of :mod:`bench.decision_items` are classified by ``decide_many()``, with
both normalizations and with a calibration, and by an answer that structured output holds to the labels. The calibration
is fitted on one half of a task and measured on the other, both ways.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import studiolo
from studiolo.domain.calibration import Example, Scaling, accuracy, expected_calibration_error, fit
from studiolo.domain.decisions import log_probability, softmax

from .decision_items import Task, tasks
from .noise import Say
from .run import ensure_model
from .schemas import say

TOGETHER = 4
"""Constrained answers at once: as many as the model has slots."""


@dataclass(frozen=True)
class Outcome:
    """How one way did on one task.

    Parameters:
        accuracy: the share of texts with the right label.
        error: the expected calibration error; ``None`` for a way without probabilities.
        rate: decisions a second; ``None`` for what was not timed by itself.
    """

    accuracy: float
    error: float | None
    rate: float | None


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.decisions", description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=200, help="texts in all (default: 200)")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    options = parser.parse_args()
    found = measure(ensure_model(options.model)[0], tasks(options.items), say)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps({"results": found}, indent=2) + "\n")


def measure(model: str, given: Sequence[Task], say: Say) -> list[dict[str, Any]]:
    """Run all ways on all tasks; return the lines of the table."""
    lines: list[dict[str, Any]] = []
    with studiolo.Client("embedded") as client:
        llm = client.llm.model(model)
        for task in given:
            llm.decide_many(
                [each.text for each in task.items[:8]], task.labels, context=task.context
            )  # warms the caches
            for name, outcome in _outcomes(llm, task):
                say(f"{task.name}, {name}: {outcome.accuracy:.3f}")
                lines.append({"task": task.name, "items": len(task.items), "way": name, **vars(outcome)})
        llm.unload()
    return lines


def _outcomes(llm: Any, task: Task) -> list[tuple[str, Outcome]]:
    texts = [each.text for each in task.items]
    whole, rate = _timed(lambda: llm.decide_many(texts, task.labels, context=task.context), len(texts))
    means, means_rate = _timed(
        lambda: llm.decide_many(texts, task.labels, context=task.context, normalization="tokens"), len(texts)
    )
    written, written_rate = _timed(lambda: _written(llm, task), len(texts))
    examples = [_example(task, index, found) for index, found in enumerate(whole)]
    return [
        ("decide_many", _outcome(examples, rate)),
        ("decide_many, calibrated", _calibrated(examples)),
        (
            "decide_many, normalization tokens",
            _outcome([_example(task, *each) for each in enumerate(means)], means_rate),
        ),
        ("structured output", Outcome(_share(task, written), None, written_rate)),
    ]


def _timed(call: Callable[[], Any], count: int) -> tuple[Any, float]:
    """Return what ``call`` returns, and how many decisions a second that were."""
    began = time.perf_counter()
    result = call()
    return result, count / (time.perf_counter() - began)


def _written(llm: Any, task: Task) -> list[str]:
    """Return the labels that the model writes, several at once."""
    schema = {"type": "string", "enum": [*task.labels]}

    def answer(text: str) -> str:
        chat = f"{task.context}\n\n{text}"
        return json.loads(llm.respond(chat, response_format=schema, config={"temperature": 0}).content)

    with ThreadPoolExecutor(TOGETHER) as threads:
        return list(threads.map(answer, [each.text for each in task.items]))


def _share(task: Task, labels: Sequence[str]) -> float:
    return sum(each.label == label for each, label in zip(task.items, labels, strict=True)) / len(labels)


def _example(task: Task, index: int, found: Any) -> Example:
    scores = [log_probability(found.probabilities[label]) for label in task.labels]
    return Example(task.labels, scores, task.labels.index(task.items[index].label))


def _judged(examples: Sequence[Example], scaling: Scaling) -> list[tuple[float, bool]]:
    judged: list[tuple[float, bool]] = []
    for each in examples:
        probabilities = softmax(scaling.scaled(each.choices, each.scores))
        judged.append((max(probabilities), probabilities.index(max(probabilities)) == each.right))
    return judged


def _outcome(examples: Sequence[Example], rate: float) -> Outcome:
    judged = _judged(examples, Scaling())
    return Outcome(accuracy(judged), expected_calibration_error(judged), rate)


def _calibrated(examples: Sequence[Example]) -> Outcome:
    halves = examples[::2], examples[1::2]
    judged = [
        *_judged(halves[0], fit(halves[1]).scaling),
        *_judged(halves[1], fit(halves[0]).scaling),
    ]
    return Outcome(accuracy(judged), expected_calibration_error(judged), None)


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return the printed report."""
    lines = ["| task | way | accuracy | calibration error | decisions/s |", "|---|---|---|---|---|"]
    for each in found:
        error = "" if each["error"] is None else f"{each['error']:.3f}"
        rate = "" if each["rate"] is None else f"{each['rate']:.1f}"
        lines.append(f"| {each['task']} | {each['way']} | {each['accuracy']:.3f} | {error} | {rate} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
