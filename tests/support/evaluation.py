"""Score a small multiple-choice task by lm-eval over ``/v1/completions``, and compare with direct log-probabilities.

Run by ``make lm-eval``. lm-eval (700 MB with what it needs) is put into the tests' cache at the first run. It wants
the model's tokenizer, which it would fetch: it is written from the vocabulary in the model's file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import studiolo as lm
from tests.support.frameworks import python_of
from tests.support.homes import DEFAULT_MODEL, new_home
from tests.support.model_cache import cache_folder, fetch_default_model
from tests.support.running import serving

TASK = "small_choices"

ITEMS: Sequence[tuple[str, Sequence[str], int]] = (
    ("The capital of France is", ("Paris", "Rome", "a banana", "Tuesday"), 0),
    ("The sky on a clear day is", ("green", "blue", "made of wood", "seven"), 1),
    ("Two plus two is equal to", ("a horse", "nine", "four", "yesterday"), 2),
    ("The opposite of hot is", ("warm", "round", "music", "cold"), 3),
    ("Water freezes and becomes", ("ice", "steam", "paper", "a song"), 0),
    ("A dog has four", ("wheels", "legs", "numbers", "books"), 1),
    ("At night we can see the", ("soup", "desk", "moon", "sunlight"), 2),
    ("Bees make", ("milk", "bread", "cars", "honey"), 3),
    ("The first month of the year is", ("January", "August", "Sunday", "winter"), 0),
    ("Fish live in the", ("trees", "water", "sky", "fire"), 1),
    ("We read words in a", ("stone", "spoon", "book", "river"), 2),
    ("The largest animal in the ocean is the", ("ant", "cat", "bird", "whale"), 3),
)
"""Questions, their choices, and the place of the right one."""

DEFINITION = """task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {items}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: " "
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""

CLOSE = 0.05
"""Log-probabilities of the same text differ by so much at most: prompts are read in parts of other sizes."""


def write_task(folder: Path, model: Path) -> None:
    """Write the task and the tokenizer of the GGUF file ``model``."""
    rows = [{"question": question, "choices": choices, "answer": answer} for question, choices, answer in ITEMS]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{TASK}.yaml").write_text(DEFINITION.format(task=TASK, items=folder / "items.jsonl"))
    tokenizer, settings = tokenizer_of(model)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def tokenizer_of(model: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``tokenizer.json`` and ``tokenizer_config.json`` of SmolLM2's vocabulary in the GGUF file ``model``."""
    import gguf

    fields = gguf.GGUFReader(model).fields
    tokens, kinds = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    control = [
        {"id": number, "content": token, **flags}
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == gguf.TokenType.CONTROL
    ]
    in_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": control,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, in_bytes]},
        "decoder": in_bytes,
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": fields["tokenizer.ggml.merges"].contents(),
        },
    }
    end = tokens[fields["tokenizer.ggml.eos_token_id"].contents()]
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}


def by_lm_eval(url: str, folder: Path, tokenized: bool) -> tuple[float, list[list[float]]]:
    """Return the accuracy that lm-eval reports, and the log-probability of each choice of each question."""
    python = python_of("lm-eval", cache_folder(), Path(__file__).with_name("lm_eval.in"))
    output = folder / f"output-{tokenized}"
    model = {
        "model": DEFAULT_MODEL,
        "base_url": f"{url}/v1/completions",
        "tokenizer": folder,
        "tokenizer_backend": "huggingface",
        "tokenized_requests": tokenized,
    }
    program = [str(python.with_name("lm_eval")), "run", "--model", "local-completions", "--tasks", TASK]
    program += ["--model_args", ",".join(f"{name}={value}" for name, value in model.items())]
    program += ["--include_path", str(folder), "--output_path", str(output), "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "HOME": str(folder)}
    done = subprocess.run(
        program, env={**os.environ, **offline}, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    (summary,) = output.rglob("results_*.json")
    (samples,) = output.rglob("samples_*.jsonl")
    accuracy = json.loads(summary.read_text())["results"][TASK]["acc,none"]
    rows = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    return accuracy, [[float(each[0]) for each in row["filtered_resps"]] for row in rows]


def directly(model: lm.LLM) -> list[list[float]]:
    """Return the log-probability of each choice of each question: token by token, each of them made to be generated."""
    return [[_log_probability(model, question, choice) for choice in choices] for question, choices, _ in ITEMS]


def _log_probability(model: lm.LLM, question: str, choice: str) -> float:
    text = f"{question} {choice}"
    tokens, known = model.tokenize(text), len(model.tokenize(question))
    beginnings = {tuple(model.tokenize(text[:end])): text[:end] for end in range(len(question), len(text))}
    total = 0.0
    for place in range(known, len(tokens)):
        config = {"temperature": 0, "max_tokens": 1, "log_probs": 1, "logit_bias": [(tokens[place], 100.0)]}
        found = model.complete(beginnings[tuple(tokens[:place])], config=config).logprobs or []
        assert [each[0].id for each in found] == [tokens[place]]
        total += found[0][0].logprob  # the model's, before what was added to it
    return total


def main() -> int:
    """Compare the scores; return the exit status."""
    from studiolo.paths import Home

    cached = Home(cache_folder())
    fetch_default_model(cached)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        write_task(folder, next(cached.models.rglob("SmolLM2*.gguf")))
        with serving(new_home(folder, cached), folder, "--no-load") as server:
            with lm.Client(server.address) as client:
                direct = directly(client.llm.model(DEFAULT_MODEL))
            found = {
                form: by_lm_eval(f"http://{server.address}", folder, form == "tokens") for form in ("tokens", "texts")
            }
    right = [max(range(len(row)), key=row.__getitem__) == item[2] for row, item in zip(direct, ITEMS, strict=True)]
    expected = sum(right) / len(ITEMS)
    print(f"directly: accuracy {expected:.4f} of {len(ITEMS)} questions")
    same = True
    for form, (accuracy, scores) in found.items():
        pairs = [
            (one, other) for row, own in zip(scores, direct, strict=True) for one, other in zip(row, own, strict=True)
        ]
        furthest = max(abs(one - other) for one, other in pairs)
        print(f"lm-eval, {form}: accuracy {accuracy:.4f}, {len(pairs)} log-probabilities within {furthest:.4f}")
        same = same and abs(accuracy - expected) < 1e-9 and furthest <= CLOSE
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
