"""The figures of a server in the text format of Prometheus, which is simple enough to be written without a library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from .._version import __version__
from ..dialects.base import Serving

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = dict[str, str]
Sample = tuple[str, Labels, float]
"""What follows the name of the metric (``_sum``), labels, and the value."""


def metrics(serving: Serving) -> str:
    """Return the figures of a server and its host."""
    instances, models = serving.host.instances.all(), serving.host.instances.totals.models
    states = Counter(instance.activity for instance in instances)

    def each(name: str) -> Iterable[Sample]:
        return (("", {"model": key}, getattr(totals, name)) for key, totals in models.items())

    def summary(count: dict[str, int], total: str) -> Iterable[Sample]:
        for key, totals in models.items():
            yield "_sum", {"model": key}, getattr(totals, total)
            yield "_count", {"model": key}, count[key]

    def by_instance(name: str) -> Iterable[Sample]:
        for instance in instances:
            labels = {"instance_name": instance.identifier, "model": instance.model.key}
            yield "", labels, getattr(instance.slots, name)

    def loads(name: str, suffix: str = "") -> Iterable[Sample]:
        return ((suffix, {"model": key}, getattr(totals.loads, name)) for key, totals in models.items())

    def requests(name: str, suffix: str = "") -> Iterable[Sample]:
        for key, totals in models.items():
            for kind, one in totals.requests.items():
                yield suffix, {"model": key, "kind": kind}, getattr(one, name)

    load_errors = [
        ("", {"model": k, "code": code}, n) for k, totals in models.items() for code, n in totals.loads.errors.items()
    ]
    request_errors = [
        ("", {"model": k, "kind": kind, "code": code}, n)
        for k, totals in models.items()
        for kind, one in totals.requests.items()
        for code, n in one.errors.items()
    ]
    ends = [("", {"model": k, "stop_reason": r}, n) for k, totals in models.items() for r, n in totals.ends.items()]
    errors = [("", {"model": k, "code": code}, n) for k, totals in models.items() for code, n in totals.errors.items()]
    first_tokens = {key: totals.first_tokens for key, totals in models.items()}
    ended = {key: totals.ends.total() for key, totals in models.items()}
    families = (
        _family("info", "gauge", "The version.", [("", {"version": __version__}, 1)]),
        _family(
            "http_requests_in_progress",
            "gauge",
            "Requests over HTTP that are being answered.",
            [("", {}, serving.load.requests)],
        ),
        _family("instances", "gauge", "Instances by state.", [("", {"state": s}, n) for s, n in states.items()]),
        _family("predictions_running", "gauge", "Predictions that have a slot.", by_instance("running")),
        _family("predictions_waiting", "gauge", "Predictions that wait for a slot.", by_instance("waiting")),
        _family("predictions_total", "counter", "Predictions that ended with a result.", ends),
        _family("prediction_errors_total", "counter", "Predictions that ended with an error.", errors),
        _family("prompt_tokens_total", "counter", "Tokens of prompts.", each("prompt_tokens")),
        _family("cached_prompt_tokens_total", "counter", "Tokens read before.", each("cached_tokens")),
        _family("generated_tokens_total", "counter", "Tokens of answers.", each("generated_tokens")),
        _family(
            "first_token_seconds",
            "summary",
            "From the request to the first token.",
            summary(first_tokens, "first_token_sec"),
        ),
        _family("prediction_seconds", "summary", "From the request to the end.", summary(ended, "total_sec")),
        _family("requests_total", "counter", "Other requests that ended with a result.", requests("ended")),
        _family("request_errors_total", "counter", "Other requests that ended with an error.", request_errors),
        _family("request_tokens_total", "counter", "Tokens of their texts.", requests("tokens")),
        _family(
            "request_seconds",
            "summary",
            "From such a request to its end.",
            [*requests("total_sec", "_sum"), *requests("ended", "_count")],
        ),
        _family("loads_total", "counter", "Loads of a model.", loads("ended")),
        _family("load_errors_total", "counter", "Loads that failed or were given up.", load_errors),
        _family(
            "load_seconds",
            "summary",
            "From a load's beginning to its end.",
            [*loads("total_sec", "_sum"), *loads("ended", "_count")],
        ),
        _family("engine_crashes_total", "counter", "Engines that ended unexpectedly.", each("crashes")),
    )
    return "".join(families)


def _family(name: str, kind: Literal["gauge", "counter", "summary"], text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP studiolo_{name} {text}", f"# TYPE studiolo_{name} {kind}"]
    lines += [f"studiolo_{name}{suffix}{_labels(labels)} {value:.17g}" for suffix, labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{','.join(pairs)}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
