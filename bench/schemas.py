"""Structured output over many schemas: ``python -m bench.schemas FILE``, on the default model, embedded.

Each line of FILE is a JSON object: ``id``; ``schema``; ``valid`` and ``invalid``, lists of values that satisfy the
schema and that do not; and where there are any ``invalid_by_format``, values that break a ``format`` alone, which
count for nothing here. The model is shown each schema and asked for one answer at temperature 0. The outcome is one of
three:

- accepted: an answer begins, at most 5 seconds later than one to the same prompt that is held to nothing.
- refused: before any token, with an error of the SDK that has the path of what is refused, and a cause.
- wrong: anything else. An answer that is too late, an error without a place or after the first token, an answer that
  is complete and does not satisfy the schema, or a good one that the SDK finds fault with.

An answer is complete where it ended by itself, or is whole JSON at the token limit and no number: more digits might
have followed. It is judged by the library ``jsonschema``, with the draft that the schema names (2020-12 where it names
none) and without ``format``, not by studiolo.

The values are put to the check of finished answers, without a model: all of ``valid`` must pass it, none of
``invalid``.

``--speed`` measures instead: see :mod:`bench.schema_speed`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

import studiolo
from studiolo.engines.schemas.preparation import RefusedError, prepare
from studiolo.engines.schemas.validation import check

from .layers import ensure_model

MAX_DELAY_SEC = 5.0
SHOWN_CHARS = 400
"""How much of a schema the prompt has: small models are slow readers."""

LITTLE = {"temperature": 0, "max_tokens": 1}


@dataclass
class Outcome:
    """What came of one schema.

    Parameters:
        kind: ``accepted``, ``refused`` or ``wrong``.
        why: the error, or what is wrong.
        delay_sec: the first token's, over that of a free answer.
        complete: whether the answer is; ``None`` where there is none.
        instances: what the check of finished answers got wrong of ``valid`` and ``invalid``.
    """

    id: str
    kind: str
    error: str = ""
    path: str = ""
    why: str = ""
    delay_sec: float | None = None
    complete: bool | None = None
    answer: str = ""
    instances: list[str] = field(default_factory=list[str])


def main() -> int:
    """Run it. Exit status: 0 when nothing was wrong, else 1."""
    options = _options()
    model = ensure_model(options.model)
    if options.speed:
        from . import schema_speed

        found = schema_speed.measure(model, options.file, options.max_tokens, _say)
        print(schema_speed.table(found))
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")
        return 0
    outcomes = run(model, read(options.file)[: options.limit], options.max_tokens, _say)
    print(report(outcomes))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=2) + "\n")
    return 1 if any(each.kind == "wrong" or each.instances for each in outcomes) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.schemas", description="Structured output over many schemas.")
    parser.add_argument("file", type=Path, metavar="FILE", help="a schema a line, as the module says")
    parser.add_argument("--limit", type=int, help="only so many of them")
    parser.add_argument("--max-tokens", type=int, default=150, help="tokens of an answer at most (default: 150)")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there as well")
    parser.add_argument("--speed", action="store_true", help="measure speed and delays instead")
    return parser.parse_args()


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of schemas."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def run(model: str, schemas: Iterable[dict[str, Any]], max_tokens: int, say: Any = lambda text: None) -> list[Outcome]:
    """Ask the model for an answer to each schema, and check its values."""
    outcomes: list[Outcome] = []
    with studiolo.Client("embedded") as client:
        llm = client.llm.model(model)
        for entry in schemas:
            outcome = _ask(llm, entry, max_tokens)
            outcome.instances = check_instances(entry)
            outcomes.append(outcome)
            say(f"{len(outcomes)} {outcome.id}: {outcome.kind} {outcome.why}")
        llm.unload()
    return outcomes


def prompt_for(schema: Any) -> str:
    """What the model is asked."""
    return f"Write an example of JSON that satisfies this schema:\n{json.dumps(schema)[:SHOWN_CHARS]}"


def _ask(llm: Any, entry: dict[str, Any], max_tokens: int) -> Outcome:
    schema, prompt = entry["schema"], prompt_for(entry["schema"])
    outcome = Outcome(entry["id"], "wrong")
    llm.respond(prompt, config=LITTLE)  # then the prompt is in the cache for both
    began = time.perf_counter()
    llm.respond(prompt, config=LITTLE)
    free = time.perf_counter() - began
    began = time.perf_counter()
    text = ""
    try:
        answer = llm.respond_stream(prompt, response_format=schema, config={"temperature": 0, "max_tokens": max_tokens})
        for fragment in answer:
            if outcome.delay_sec is None:
                outcome.delay_sec = time.perf_counter() - began - free
            text += fragment.content
        result = answer.result()
    except Exception as error:
        outcome.error, outcome.why = type(error).__name__, str(error)
        if isinstance(error, studiolo.StudioloError):
            outcome.path = error.data.get("path", "")
            if outcome.path and error.cause and outcome.delay_sec is None:
                outcome.kind = "refused"
        return outcome
    outcome.answer = text
    reason = result.stats.stop_reason
    outcome.complete = reason != "maxPredictedTokensReached" or _is_whole(text)
    if outcome.delay_sec is None or outcome.delay_sec > MAX_DELAY_SEC:
        outcome.why = f"it began {outcome.delay_sec} s later than a free one"
    elif outcome.complete and (problem := broken(schema, text)):
        outcome.why = f"{problem} ({reason})"
    elif outcome.complete and not result.structured:
        outcome.why = f"it is right, and studiolo says: {result.structured_problem}"
    else:
        outcome.kind = "accepted"
    return outcome


def _is_whole(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, str | bool | list | dict | None)


def broken(schema: Any, text: str) -> str | None:
    """Why a text does not satisfy a schema, by ``jsonschema``."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"no JSON: {error}"
    try:
        errors = validator_for(schema, default=Draft202012Validator)(schema).iter_errors(value)
        found: Any = next(iter(errors), None)
    except Exception as error:
        return f"not judged: {type(error).__name__}: {error}"
    return found and f"{found.message[:200]} ({found.json_path}, {'/'.join(map(str, found.absolute_schema_path))})"


def check_instances(entry: dict[str, Any]) -> list[str]:
    """What the check of finished answers says wrongly of an entry's values; nothing where the schema is refused."""
    text = json.dumps(entry["schema"])
    try:
        prepare(text)
    except RefusedError:
        return []
    wrong: list[str] = []
    for number, value in enumerate(entry["valid"]):
        if problem := check(text, json.dumps(value)):
            wrong.append(f"valid[{number}] is refused: {problem}")
    for number, value in enumerate(entry["invalid"]):
        if check(text, json.dumps(value)) is None:
            wrong.append(f"invalid[{number}] passes")
    return wrong


def report(outcomes: Sequence[Outcome]) -> str:
    """What is printed."""
    counts = {kind: sum(each.kind == kind for each in outcomes) for kind in ("accepted", "refused", "wrong")}
    lines = [
        f"{kind}: {each.id}: {each.error} {each.path}: {each.why}"
        for kind in ("refused", "wrong")
        for each in outcomes
        if each.kind == kind
    ]
    lines += [f"values: {each.id}: {problem}" for each in outcomes for problem in each.instances]
    complete = [each for each in outcomes if each.complete]
    right = sum(each.kind == "accepted" for each in complete)
    lines += [
        f"{len(outcomes)} schemas: {', '.join(f'{count} {kind}' for kind, count in counts.items())}",
        f"{len(complete)} answers complete, {right} of them right",
    ]
    delays = [each.delay_sec * 1000 for each in outcomes if each.delay_sec is not None]
    if len(delays) > 1:
        lines.append(f"first token after a free one's, ms: {spread(delays)}")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Median, 95th percentile and maximum, as printed."""
    p95 = statistics.quantiles(values, n=20, method="inclusive")[-1]
    return f"median {statistics.median(values):.1f}, p95 {p95:.1f}, max {max(values):.1f}"


def _say(text: str) -> None:
    print(f"bench: {text[:300]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
