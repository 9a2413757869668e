"""Structured output over many schemas: ``python -m bench.schemas FILE``, on the default model, embedded.

Each line of FILE is a JSON object: ``id``; ``schema``; ``valid`` and ``invalid``, lists of values that satisfy the
schema and that do not; and optionally ``invalid_by_format``, values that violate a ``format`` only, which are not used
here. The prompt contains the schema, and requests one answer at temperature 0. The outcome is one of three:

- accepted: an answer begins, at most 5 seconds later than an unconstrained one to the same prompt.
- refused: before any token, with an error of the SDK that includes the path in the schema, and a cause.
- wrong: anything else. An answer that is too late, an error without a path or after the first token, a complete answer
  that violates the schema, or a correct one that the SDK rejects.

An answer is complete if the model ended it, or if it is whole JSON at the token limit and not a number: more digits
might have followed. It is validated with the library ``jsonschema``, by the draft in ``$schema`` (2020-12 by default)
and without ``format``, not by studiolo.

The values test the validation of complete answers, without a model: all of ``valid`` must pass it, none of
``invalid``.
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
from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import RefusedError
from studiolo.engines.schemas.validation import check

from .run import ensure_model

MAX_DELAY_SEC = 5.0
SHOWN_CHARS = 400
"""Characters of a schema in the prompt: small models process prompts slowly."""

LITTLE = {"temperature": 0, "max_tokens": 1}


@dataclass
class Outcome:
    """The outcome of one schema.

    Parameters:
        kind: ``accepted``, ``refused`` or ``wrong``.
        why: the error, or what is wrong.
        delay_sec: the delay of the first token against an unconstrained answer.
        complete: whether the answer is complete; ``None`` without an answer.
        instances: the errors of the validation of ``valid`` and ``invalid``.
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
    """Run the benchmark. Exit status: 0 if no outcome is wrong, otherwise 1."""
    options = _options()
    model = ensure_model(options.model)[0]
    outcomes = run(model, read(options.file)[: options.limit], options.max_tokens, say)
    print(report(outcomes))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=2) + "\n")
    return 1 if any(each.kind == "wrong" or each.instances for each in outcomes) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.schemas", description="Structured output over many schemas.")
    parser.add_argument("file", type=Path, metavar="FILE", help="schemas, one a line; see the module")
    parser.add_argument("--limit", type=int, help="maximum number of schemas")
    parser.add_argument("--max-tokens", type=int, default=150, help="maximum tokens of an answer (default: 150)")
    parser.add_argument("--model", help="a model of the library or the catalog (default: the catalog's default)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the results to this file")
    return parser.parse_args()


def read(file: Path) -> list[dict[str, Any]]:
    """Return the entries of a file of schemas."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def run(
    model: str, schemas: Iterable[dict[str, Any]], max_tokens: int, on_progress: Any = lambda text: None
) -> list[Outcome]:
    """Request an answer to each schema, and validate its values."""
    outcomes: list[Outcome] = []
    with studiolo.Client("embedded") as client:
        llm = client.llm.model(model)
        for entry in schemas:
            outcome = _ask(llm, entry, max_tokens)
            outcome.instances = check_instances(entry)
            outcomes.append(outcome)
            on_progress(f"{len(outcomes)} {outcome.id}: {outcome.kind} {outcome.why}")
        llm.unload()
    return outcomes


def prompt_for(schema: Any) -> str:
    """Return the prompt for a schema."""
    return f"Write an example of JSON that satisfies this schema:\n{json.dumps(schema)[:SHOWN_CHARS]}"


def _ask(llm: Any, entry: dict[str, Any], max_tokens: int) -> Outcome:
    schema, prompt = entry["schema"], prompt_for(entry["schema"])
    outcome = Outcome(entry["id"], "wrong")
    llm.respond(prompt, config=LITTLE)  # caches the prompt for both
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
        outcome.why = f"the answer began {outcome.delay_sec} s later than an unconstrained one"
    elif outcome.complete and (problem := broken(schema, text)):
        outcome.why = f"{problem} ({reason})"
    elif outcome.complete and not result.structured:
        outcome.why = f"the answer is correct, and studiolo rejects it: {result.structured_problem}"
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
    """Return why a text violates a schema, by ``jsonschema``; ``None`` if it does not."""
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
    """Return the errors of the validation of an entry's values; none if the schema is refused."""
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
    """Return the printed report."""
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
    """Return median, 95th percentile and maximum as text."""
    p95 = statistics.quantiles(values, n=20, method="inclusive")[-1]
    return f"median {statistics.median(values):.1f}, p95 {p95:.1f}, max {max(values):.1f}"


def say(text: str) -> None:
    """Print progress."""
    print(f"bench: {text[:300]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
