"""The statistics of an answer in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary(model: str | None, stats: Mapping[str, Any]) -> str:
    """Return the statistics of a prediction for people; what is not known is left out.

    Parameters:
        model: the key of the model.
        stats: the fields of the prediction's stats.
    """
    rate, first, total = (
        stats.get(name) for name in ("tokens_per_second", "time_to_first_token_sec", "total_time_sec")
    )
    counts = [stats.get("prompt_tokens_count"), stats.get("predicted_tokens_count")]
    reason = stats.get("stop_reason")
    parts = [
        model,
        f"{counts[0]} tokens in, {counts[1]} out" if None not in counts else None,
        f"{rate:.1f} tok/s" if rate else None,
        f"first token after {first:.3f} s" if first is not None else None,
        f"{total:.2f} s in all" if total is not None else None,
        f"stopped by {reason}" if reason else None,
    ]
    return " | ".join(part for part in parts if part)
